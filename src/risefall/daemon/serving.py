"""`run --serve config`: the stats sockets of the configuration, and the frontends that answer `monitor-uri`.

Each address is one task. A reload keeps those that are the same, ends those that are gone, and opens what is new; what they
answer is always the present configuration's. An address that somebody else holds is told, and the run goes on: risefall stands
beside a living HAProxy. Source: spec/haproxy-checks.md §7.1, §8.1; haproxy configuration manual 2.6, §3.1, §4.2.
"""

from __future__ import annotations

import grp
import ipaddress
import os
import pwd
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from risefall.config.haproxy.address import parse_address
from risefall.config.haproxy.fronts import Bind, Front
from risefall.config.haproxy.model import Address, Family, StatsSocket
from risefall.config.text import Wrong
from risefall.errors import StartError
from risefall.state.fleet import Fleet
from risefall.state.monitor import holds
from risefall.surfaces.calls import Api, Level
from risefall.surfaces.monitor import READY, UNAVAILABLE, Message, MonitorSession, Page, read_errorfile
from risefall.surfaces.runtime import Session
from risefall.surfaces.serve import accept, adopt, bind, serve_on, unlink_own

BACKLOG = 512
MODE = 0o755
"""Of a socket without `mode`: what HAProxy's is under the usual umask. Who may not write cannot connect."""
STATS_CLIENTS_MAX = 10
"""`stats maxconn`."""
MONITOR_CLIENTS_MAX = 1000
READ_BYTES = 16_384
TURNS_TO_END = 3
ERRORFILE_MAX = 1 << 20


class Wanted(msgspec.Struct, frozen=True):
    """What a configuration asks for: frontends and stats sockets. stats_timeout_s: how long clients of these may be silent."""

    fronts: tuple[Front, ...] = ()
    sockets: tuple[StatsSocket, ...] = ()
    stats_timeout_s: float = 10.0


class Way(msgspec.Struct, frozen=True):
    """An address to listen at."""

    family: int
    host: str
    port: int = 0
    mode: str = ""
    user: str = ""
    group: str = ""
    v6only: bool = False

    @property
    def text(self) -> str:
        """As people know it."""
        match self.family:
            case Family.UNIX:
                return self.host
            case Family.ABNS:
                return f"abns@{self.host}"
            case Family.FD:
                return f"fd@{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def way_of(address: Address, mode: str = "", user: str = "", group: str = "", *, v6only: bool = False) -> Way:
    """An address of the configuration as one to listen at."""
    return Way(int(address.family), address.host, address.port, mode, user, group, v6only)


def open_way(way: Way) -> socket.socket:
    """A listening socket. Raises: StartError saying what to do."""
    if way.family == Family.FD:
        if not way.host.isdigit():
            raise StartError(f"fd@{way.host}: no descriptor; write fd@3 for the one of that number")
        return adopt(int(way.host))
    try:
        if way.family == Family.UNIX:
            return open_unix(way)
        if way.family == Family.ABNS:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.bind("\0" + way.host)
            made.listen(BACKLOG)
            return made
        return open_inet(way)
    except OSError as error:
        raise StartError(f"{way.text}: cannot listen here: {error.strerror or error}") from error


def open_unix(way: Way) -> socket.socket:
    """Raises: StartError, OSError."""
    uid = pwd.getpwnam(way.user).pw_uid if way.user and not way.user.isdigit() else int(way.user or -1)
    gid = grp.getgrnam(way.group).gr_gid if way.group and not way.group.isdigit() else int(way.group or -1)
    made = bind(way.host, int(way.mode, 8) if way.mode else MODE)
    try:
        if (uid, gid) != (-1, -1):
            os.chown(way.host, uid, gid)
    except OSError:
        made.close()
        os.unlink(way.host)
        raise
    return made


def open_inet(way: Way) -> socket.socket:
    """Raises: OSError; also for names, which a `bind` may hold."""
    family = socket.AF_INET6 if way.family == Family.IPV6 else socket.AF_INET
    if way.family == Family.NAME:
        family = socket.getaddrinfo(way.host, way.port, type=socket.SOCK_STREAM)[0][0]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, way.v6only)
        made.bind((way.host, way.port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def load_page(front: Front, say: Callable[[str], None]) -> Page:
    """What a frontend answers. An error file of no use is told, and HAProxy's own text stands in."""
    files: dict[str, Message] = {}
    for status, path in front.errorfiles:
        try:
            if Path(path).stat().st_size > ERRORFILE_MAX:
                raise ValueError(f"is bigger than {ERRORFILE_MAX} bytes")
            files[status] = read_errorfile(Path(path).read_bytes())
        except OSError as error:
            say(f"errorfile {status} {path}: {error.strerror}; the usual text is served")
        except ValueError as error:
            say(f"errorfile {status} {path}: {error}; the usual text is served")
    return Page(
        front.name,
        front.monitor_uri,
        front.fails,
        front.networks,
        files.get("200", READY),
        files.get("503", UNAVAILABLE),
    )


class Serving:
    """All that the configuration asks to be served. `follow` a configuration, in a nursery that lives as long as the run."""

    def __init__(
        self,
        api: Api,
        fleet: Callable[[], Fleet],
        say: Callable[[str], None],
        fault: Callable[[Exception], None],
        *,
        whole: bool,
    ) -> None:
        """whole: everything; else inherited stats sockets (`fd@`) alone."""
        self._api = api
        self._fleet = fleet
        self._say = say
        self._fault = fault
        self._whole = whole
        self._open: dict[Way, trio.CancelScope] = {}
        self._pages: dict[Way, tuple[Page, float]] = {}
        self._stats: dict[Way, tuple[StatsSocket, float]] = {}
        self._places = trio.Semaphore(MONITOR_CLIENTS_MAX)

    def sockets(self) -> list[tuple[str, Level]]:
        """The stats sockets that are open, and what may be done there."""
        return [(way.text, Level[one.level.upper()]) for way, (one, _) in self._stats.items() if way in self._open]

    async def follow(self, wanted: Wanted, nursery: trio.Nursery) -> None:
        """Serves what this configuration asks for, and no more what it does not."""
        pages, stats = await trio.to_thread.run_sync(self._ways, wanted)
        for way in [way for way in self._open if way not in pages and way not in stats]:
            self._open.pop(way).cancel()
        for _ in range(TURNS_TO_END):  # so that a path that is to be opened in another way is free
            await trio.lowlevel.checkpoint()
        self._pages, self._stats = pages, stats
        for way in [*stats, *pages]:
            if way not in self._open:
                scope = trio.CancelScope()
                try:
                    opened = await trio.to_thread.run_sync(open_way, way)
                except (StartError, KeyError, ValueError) as error:
                    self._say(f"{way.text}: not served: {str(error).removeprefix(f'{way.text}: ')}")
                    continue
                self._open[way] = scope
                await nursery.start(self._serve, way, opened, scope)

    def _ways(self, wanted: Wanted) -> tuple[dict[Way, tuple[Page, float]], dict[Way, tuple[StatsSocket, float]]]:
        stats: dict[Way, tuple[StatsSocket, float]] = {}
        for one in wanted.sockets:
            try:
                way = way_of(parse_address(one.address, None, server=False), one.mode, one.user, one.group)
            except Wrong as wrong:
                self._say(f"stats socket {one.address}: {wrong.message}")
                continue
            if self._whole or way.family == Family.FD:
                stats[way] = one, wanted.stats_timeout_s
        pages: dict[Way, tuple[Page, float]] = {}
        for front in wanted.fronts if self._whole else ():
            page = load_page(front, self._say)
            for each in front.binds:
                if each.why_not:
                    self._say(f"{each.place}: {self._text(each)} is not served: {each.why_not}")
                    continue
                way = way_of(each.address, each.mode, each.user, each.group, v6only=each.v6only)
                pages[way] = page, front.timeout_ms / 1000
        return pages, stats

    def _text(self, bind: Bind) -> str:
        return way_of(bind.address).text

    async def _serve(
        self, way: Way, opened: socket.socket, scope: trio.CancelScope, task_status: trio.TaskStatus[None]
    ) -> None:
        mine = os.lstat(way.host) if way.family == Family.UNIX else None
        try:
            with scope:
                if way in self._stats:
                    timeout_s = self._stats[way][1]
                    await serve_on(
                        opened, lambda: self._session(way), timeout_s=timeout_s, clients_max=STATS_CLIENTS_MAX,
                        fault=self._fault, task_status=task_status,
                    )  # fmt: skip
                else:
                    await self._serve_pages(way, opened, task_status)
        finally:
            opened.close()
            if mine is not None:
                unlink_own(way.host, mine)

    def _session(self, way: Way) -> Session:
        one, _ = self._stats[way]
        return Session(self._api, Level[one.level.upper()], one.severity)

    async def _serve_pages(self, way: Way, opened: socket.socket, task_status: trio.TaskStatus[None]) -> None:
        with trio.socket.from_stdlib_socket(opened) as listener:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    await self._places.acquire()
                    client = await accept(listener)
                    nursery.start_soon(self._serve_client, way, client)

    async def _serve_client(self, way: Way, client: trio.socket.SocketType) -> None:
        try:
            with client:
                page, timeout_s = self._pages[way]
                await self._talk(client, page, timeout_s)
        except (OSError, KeyError, trio.TooSlowError):
            pass
        except Exception as error:
            self._fault(error)
        finally:
            self._places.release()

    async def _talk(self, client: trio.socket.SocketType, page: Page, timeout_s: float) -> None:
        peer = client.getpeername() if client.family != socket.AF_UNIX else None
        own = client.getsockname() if peer else None
        source = ipaddress.ip_address(peer[0].partition("%")[0]) if peer else None
        if isinstance(source, ipaddress.IPv6Address) and source.ipv4_mapped:
            source = source.ipv4_mapped
        session = MonitorSession(
            page, lambda one, asked: holds(self._fleet(), one, asked), source, own[1] if own else 0
        )
        while not session.closed:
            with trio.move_on_after(timeout_s) as limit:
                data = await client.recv(READ_BYTES)
            if not limit.cancelled_caught and not data:
                return
            said = session.time_out() if limit.cancelled_caught else session.feed(data)
            with trio.fail_after(timeout_s):
                while said:
                    said = said[await client.send(said) :]
        client.shutdown(socket.SHUT_WR)
        with trio.move_on_after(1.0):  # closing while something is unread would reset what was said
            for _ in range(64):
                if not await client.recv(READ_BYTES):
                    return
