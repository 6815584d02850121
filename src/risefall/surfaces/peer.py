"""What a peer's `show stat` says, as rows, and which of its servers a name or a pattern means.

Columns are read by name: their number and order differ between versions. Of a column that a peer does not have,
nothing is known, and nothing is said.
Source: spec/haproxy-checks.md §7.2, §7.3.
"""

from __future__ import annotations

import csv
import difflib
import enum
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from risefall.errors import PeerLost
from risefall.surfaces.client import Client

SHOW_SERVERS = "show stat -1 4 -1"
SHOW_ALL = "show stat"
GLOB = frozenset("*?[")
NEAREST = 3


class Kind(enum.Enum):
    """Column `type`."""

    FRONTEND = "0"
    BACKEND = "1"
    SERVER = "2"
    LISTENER = "3"


class State(enum.Enum):
    """What a status comes to for who waits for it or colours it."""

    UP = "up"
    GOING = "going"
    """Neither is it up nor down for good: its counter is on its way, or it is stopping."""
    DRAIN = "drain"
    MAINT = "maint"
    DOWN = "down"
    UNCHECKED = "unchecked"


WORDS = {
    "UP": State.UP,
    "OPEN": State.UP,
    "no": State.UNCHECKED,
    "NOLB": State.GOING,
    "DRAIN": State.DRAIN,
    "MAINT": State.MAINT,
    "DOWN": State.DOWN,
    "STOP": State.DOWN,
    "PAUSED": State.MAINT,
    "FULL": State.GOING,
    "WAITING": State.GOING,
}
"""By the first word of a status."""


def state_of(status: str) -> State:
    """The state that a status column tells; an unknown word is none of those that anyone waits for."""
    first = status.partition(" ")[0]
    state = WORDS.get(first, State.GOING)
    if first in ("UP", "DOWN") and "/" in status:
        return State.GOING
    return state


class Row(msgspec.Struct, frozen=True):
    """One row of `show stat`: its values by the peer's own names of the columns, empty ones included."""

    values: Mapping[str, str]

    def text(self, column: str) -> str:
        """A value; empty where there is none."""
        return self.values.get(column, "")

    def number(self, column: str) -> int | None:
        """A value as a number; None where there is none."""
        text = self.values.get(column, "")
        digits = text.removeprefix("-")
        return int(text) if digits.isascii() and digits.isdigit() else None

    @property
    def kind(self) -> Kind | None:
        """What the row is about; None for what this program does not know."""
        return next((kind for kind in Kind if kind.value == self.text("type")), None)

    @property
    def name(self) -> str:
        """`<backend>/<server>`."""
        return f"{self.text('pxname')}/{self.text('svname')}"

    @property
    def status(self) -> str:
        return self.text("status")

    @property
    def state(self) -> State:
        return state_of(self.status)

    @property
    def sessions(self) -> int:
        """Sessions now."""
        return self.number("scur") or 0


def parse_stat(text: str) -> list[Row]:
    """The rows of a CSV. Raises: ValueError for what is none."""
    head, _, body = text.partition("\n")
    if not head.startswith("# "):
        raise ValueError("no CSV")
    columns = head.removeprefix("# ").removesuffix(",").split(",")
    rows = []
    for values in csv.reader(body.splitlines()):
        if values:
            rows.append(Row(dict(zip(columns, values, strict=False))))
    return rows


def read_stat(client: Client, command: str = SHOW_ALL) -> list[Row]:
    """Asks a peer. Raises: PeerLost, also for a peer that answers with something else."""
    reply = client.ask(command)
    try:
        return parse_stat(reply.text)
    except (ValueError, csv.Error) as error:
        said = reply.text.partition("\n")[0][:200]
        raise PeerLost(
            f"{client.name}: '{command}' gave no table: {said or 'nothing'}; is it a runtime socket?"
        ) from error


def read_servers(client: Client) -> list[Row]:
    """Every server of a peer, in its order. Raises: PeerLost."""
    return [row for row in read_stat(client, SHOW_SERVERS) if row.kind is Kind.SERVER]


DRAIN_FLAGS = 0x18
"""FDRAIN and IDRAIN of srv_admin_state (spec §5.1)."""


def read_state_rows(client: Client) -> list[dict[str, str]]:
    """What `show servers state` says of each server, by its own names. Raises: PeerLost."""
    lines = client.ask("show servers state").text.splitlines()
    head = next((line for line in lines if line.startswith("# ")), "")
    columns = head.removeprefix("# ").split()
    after = lines[lines.index(head) + 1 :] if head else []
    rows = (dict(zip(columns, line.split(), strict=False)) for line in after)
    return [row for row in rows if "be_name" in row and "srv_name" in row]


def read_draining(client: Client) -> frozenset[str]:
    """Servers in drain, also those whose status does not show it because they are DOWN. Raises: PeerLost."""
    found = set()
    for values in read_state_rows(client):
        admin = values.get("srv_admin_state", "")
        if admin.isdigit() and int(admin) & DRAIN_FLAGS:
            found.add(f"{values['be_name']}/{values['srv_name']}")
    return frozenset(found)


# --- names ------------------------------------------------------------------------------------------------


def _means(pattern: str, name: str, number: str) -> bool:
    """Whether one half of a pattern, a glob or `#<id>`, means this name."""
    return pattern == name or pattern == f"#{number}" or (bool(GLOB & set(pattern)) and fnmatchcase(name, pattern))


def is_glob(pattern: str) -> bool:
    """Whether a pattern may mean more than one."""
    return bool(GLOB & set(pattern))


def matching(rows: Iterable[Row], pattern: str) -> list[Row]:
    """The servers that `<backend>/<server>` means; each half is a name, a glob or `#<id>`."""
    backend, _, server = pattern.partition("/")
    return [
        row
        for row in rows
        if _means(backend, row.text("pxname"), row.text("iid")) and _means(server, row.text("svname"), row.text("sid"))
    ]


def matching_filter(rows: Iterable[Row], pattern: str) -> list[Row]:
    """The same for what is only shown: without a slash, a pattern means whole backends."""
    return matching(rows, pattern if "/" in pattern else f"{pattern}/*")


def nearest(names: Sequence[str], wanted: str) -> list[str]:
    """The names closest to one that is not there; those of its backend where that is right."""
    backend, slash, server = wanted.partition("/")
    own = [name for name in names if slash and name.startswith(f"{backend}/")]
    if own:
        close = difflib.get_close_matches(server, [name[len(backend) + 1 :] for name in own], NEAREST, 0.4)
        return [f"{backend}/{name}" for name in close] or own[:NEAREST]
    return difflib.get_close_matches(wanted, names, NEAREST, 0.5)
