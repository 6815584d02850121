"""Facts of servers that a check's expressions read: `nbsrv(be)`, `srv_is_up(be/s)` ..., and the two converters that take names.

They are texts of the check's site like its server's name: whoever knows the fleet gives their values (`state.monitor` has the
rules) and tells them again where they change. Source: haproxy configuration manual 2.6, §7.3.1, §7.3.2; spec §8.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from risefall.config.haproxy.acls import BOOLEANS, OF_BACKENDS, OF_SERVERS
from risefall.config.haproxy.model import Proxy
from risefall.engine._native import lib
from risefall.engine.around import Around
from risefall.engine.layout import NotChecked, Op, raw
from risefall.engine.samples import Args, Kind, Sample

WORD = "live"
LOOKED_UP = ("nbsrv", "srv_queue")
"""Converters: the name comes with the value."""
SITE_MAX = 60_000
EVERY = "*"
"""Instead of a backend: any of them."""


class Live(NamedTuple):
    """One fact. backend: empty for that of the check, EVERY for a table of all names. server: empty where it is of a backend."""

    fetch: str
    backend: str
    server: str

    @property
    def name(self) -> str:
        """As programs name it."""
        return " ".join((WORD, *self))


ValueOf = Callable[[str, str, str], int | None]
"""Of a fetch, backend and server, now; None where there is none."""


def unknown(fetch: str, backend: str, server: str) -> int | None:
    """Before there is a fleet."""
    return None


def live_of(fact: str) -> Live | None:
    """What the name of a fact asks for, None for others."""
    words = fact.split(" ")
    return Live(*words[1:]) if words[0] == WORD else None


def text_of(live: Live, own: Proxy, around: Around | None, value_of: ValueOf) -> bytes:
    """The text of a site. Raises NotChecked for names that are not there, and for more of them than a check holds."""
    if live.backend == EVERY:
        return table_of(live.fetch, own, around, value_of)
    backend = live.backend or own.name
    if around is not None and not live.backend and live.server and live.server not in around.servers_of(own.name):
        raise NotChecked(f"there is no server '{own.name}/{live.server}'")
    number = value_of(live.fetch, backend, live.server)
    return b"" if number is None else str(number).encode()


def table_of(fetch: str, own: Proxy, around: Around | None, value_of: ValueOf) -> bytes:
    """Lines of a number and a name, for names that come with a value."""
    if around is None:
        raise NotChecked(f"the converter '{fetch}' is not supported without a configuration")
    lines = []
    if fetch in OF_SERVERS:
        names = around.servers()
        full = [(name, *name.split("/", 1)) for name in names]
        full += [(server, own.name, server) for server in around.servers_of(own.name)]
    else:
        full = [(name, name, "") for name in around.backends()]
    for name, backend, server in full:
        if (number := value_of(fetch, backend, server)) is not None:
            lines.append(b"%d %s\n" % (number, raw(name)))
    text = b"".join(lines)
    if len(text) > SITE_MAX:
        raise NotChecked(f"the converter '{fetch}' would have to know more names than a check holds")
    return text


def make_of_server(args: Args) -> list[Op]:
    backend, _slash, server = args.string(0).rpartition("/")
    if args.program.around is not None and backend:
        args.program.around.server(backend, server)
    return [Op(lib.RF_FETCH_FACT, args.program.fact(Live(args.name, backend, server).name)), *cast(args.name)]


def make_of_backend(args: Args) -> list[Op]:
    if args.program.around is not None and args.string(0):
        args.program.around.backend(args.string(0))
    return [Op(lib.RF_FETCH_FACT, args.program.fact(Live(args.name, args.string(0), "").name)), *cast(args.name)]


def make_look_up(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_LOOK_UP, args.program.fact(Live(args.name, EVERY, "").name))]


def cast(name: str) -> list[Op]:
    """A site holds texts."""
    return [Op(lib.RF_CONV_INT), *([Op(lib.RF_CONV_BOOL)] if name in BOOLEANS else ())]


def kind(name: str) -> Kind:
    return Kind.BOOL if name in BOOLEANS else Kind.INT


LIVE = {
    **{name: Sample(make_of_server, Kind.ANY, kind(name), 1, 1) for name in OF_SERVERS},
    **{name: Sample(make_of_backend, Kind.ANY, kind(name), 0, 1) for name in OF_BACKENDS},
}
LOOK_UPS = {name: Sample(make_look_up, Kind.TEXT, Kind.INT) for name in LOOKED_UP}
