"""What `risefall-track` on this machine is answered: facts about servers, backends, scripts and agents.

A `Board` belongs to a process: `risefall run` puts servers and backends there, whoever evaluates scripts beside it puts
theirs, `risefall agent` has a board of its own. It answers on the runtime socket's path with `.track` behind it, from its
first moment: what nobody has published yet is what it was before a restart (`kept_facts.py`), else *not known*, which risefall-track
leaves to its fallback. Facts are put when they change; a thread in C answers from them.

Publishing is cheap, does not wait, and may be done from any thread:

    board.publish(Kind.SCRIPT, "chk_haproxy", good=False, reason="exited with status 1")
    board.publish(Kind.AGENT, "web", good=True, weight=75, reason="up 75%")
    board.complete(Kind.SCRIPT)     # all scripts are there: another name is a failure, not merely unknown
    board.withdraw(Kind.SCRIPT, "chk_old")
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import trio

from risefall.daemon.kept_facts import FactsFile
from risefall.engine.facts import STALE_S, Board, Facts, Kind
from risefall.errors import StartError
from risefall.state.fleet import Effects, Fleet
from risefall.state.words import full_name, status_word
from risefall.surfaces.serve import bind, unlink_own

__all__ = ["Answering", "Board", "FleetBoard", "Kind", "ScriptBoard", "answering", "open_board", "track_path"]

SUFFIX = ".track"
SLICE = 500
"""Servers put between two turns of other tasks."""
MODE = 0o666
"""keepalived runs scripts as a user of little right; what is told is no secret. The folder can be closed to others."""


def track_path(runtime_socket: str) -> str:
    """Where risefall-track asks whoever serves this runtime socket; "" where that is no path."""
    return f"{runtime_socket}{SUFFIX}" if runtime_socket.startswith("/") else ""


@contextmanager
def open_board(path: str, memory: FactsFile | None = None) -> Iterator[Board]:
    """A board that answers at `path`, which is removed at the end; "" for one that nobody can ask.

    memory: what is known at first. Raises: StartError where the path cannot be served, NativeError.
    """
    with ExitStack() as undo:
        listener = None
        if path:
            listener = undo.enter_context(bind(path, MODE, socket.SOCK_SEQPACKET))
            listener.setblocking(False)
            undo.callback(unlink_own, path, os.lstat(path))
        facts = undo.enter_context(Facts(STALE_S * 1_000_000_000))
        if memory is not None:
            memory.load(facts)  # whoever asks meanwhile waits in the backlog
        if listener is not None:
            facts.listen(listener.fileno())
        yield Board(facts)


class Answering(msgspec.Struct, frozen=True):
    """The board of a run from its first moment on, and its memory. note: what to tell when nobody can ask."""

    board: Board
    memory: FactsFile
    note: str = ""


@contextmanager
def answering(socket_path: str, state_dir: str) -> Iterator[Answering]:
    """Begins to answer risefall-track for the run with this runtime socket, from what was known before; "": for nobody.

    Before all else, since a large configuration is read for seconds. Where nobody can ask, the checks go on without.
    """
    path = track_path(socket_path)
    memory = FactsFile(state_dir, path)
    with ExitStack() as undo:
        try:
            if path:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            yielded = Answering(undo.enter_context(open_board(path, memory)), memory)
        except (OSError, StartError) as error:
            note = f"risefall-track cannot ask here: {error}"
            yielded = Answering(undo.enter_context(open_board("")), memory, note)
        yield yielded


class ScriptBoard:
    """The scripts of `run --scripts` on a board; a `Publisher` of daemon/scripts.py.

    Until its first result a script is what it was before the restart, else not known.
    """

    def __init__(self, board: Board, names: Iterable[str]) -> None:
        self._board = board
        self.follow(names)

    def follow(self, names: Iterable[str]) -> None:
        """These are all there are now; what is known of them stands."""
        board = self._board
        board.facts.sweep_begin(Kind.SCRIPT)
        for name in names:
            if not board.facts.hold(Kind.SCRIPT, os.fsencode(name)):
                board.publish(Kind.SCRIPT, name, None, reason="no result yet")
        board.facts.sweep_end(Kind.SCRIPT)
        board.complete(Kind.SCRIPT)

    def publish_script(self, name: str, good: bool, weight: int, reason: str) -> None:
        self._board.publish(Kind.SCRIPT, name, good, weight, reason)

    def forget_script(self, name: str) -> None:
        """The daemon ends, and nobody can ask any more; the last word is kept for the next run."""


class FleetBoard:
    """Servers and backends of a fleet on a board. Listens to what changes; a reload puts all again."""

    def __init__(self, board: Board, fleet: Callable[[], Fleet]) -> None:
        self._board = board
        self._fleet = fleet
        self._again = trio.Event()
        self._again.set()

    def reloaded(self) -> None:
        """The fleet is another one. Until all of it is put, the old facts stand."""
        self._again.set()

    def changed(self, effects: Effects) -> None:
        """Puts what a result or a command has changed."""
        fleet = self._fleet()
        proxies = set(effects.weights)
        for index in {*effects.changed, *(order.server for order in effects.orders)}:
            self._put(fleet, index)
            proxies.add(fleet.servers[index].proxy)
        for place in proxies:
            self._put_backend(fleet, place)

    def added(self, index: int) -> None:
        """A server came."""
        fleet = self._fleet()
        self._put(fleet, index)
        self._put_backend(fleet, fleet.servers[index].proxy)

    def removed(self, name: str, place: int) -> None:
        """A server of a proxy is gone."""
        self._board.withdraw(Kind.SERVER, name)
        self._put_backend(self._fleet(), place)

    async def run(self) -> None:
        """Puts all after each reload, in slices, so that nobody waits for it."""
        while True:
            await self._again.wait()
            self._again = trio.Event()
            for _ in self._pieces(fleet := self._fleet()):
                await trio.lowlevel.checkpoint()
                if self._fleet() is not fleet:
                    break  # another reload has set the event

    def _pieces(self, fleet: Fleet) -> Iterator[None]:
        facts = self._board.facts
        for kind in (Kind.SERVER, Kind.BACKEND):
            facts.sweep_begin(kind)
        for place, proxy in enumerate(fleet.proxies):
            for number, index in enumerate(list(proxy.own)):
                self._put(fleet, index)
                if number % SLICE == SLICE - 1:
                    yield
            self._put_backend(fleet, place)
            yield
        for kind in (Kind.SERVER, Kind.BACKEND):
            facts.sweep_end(kind)
            facts.ready(kind)

    def _put(self, fleet: Fleet, index: int) -> None:
        if not fleet.servers[index].gone:
            word = status_word(fleet, index)
            if word[-1].isdigit():  # `DOWN 1/2`: steps are not told here, since a step alone is no news
                word = word.partition(" ")[0]
            self._board.publish(Kind.SERVER, full_name(fleet, index), fleet.usable(index), reason=word)

    def _put_backend(self, fleet: Fleet, place: int) -> None:
        proxy = fleet.proxies[place]
        if proxy.has_backend:
            up = proxy.active + proxy.backup_active
            reason = f"{up} of {len(proxy.own)} servers up"
            self._board.publish(Kind.BACKEND, proxy.name, up > 0, up, reason)
