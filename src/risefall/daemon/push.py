"""`run --push`: the servers of a real HAProxy are set to what is known here, through its runtime API.

One task for each HAProxy, with one connection at a time and a deadline on each, so that one that hangs costs nobody but
itself. What changes while it is busy is a set of servers, so only their newest state is ever said. It is read anew every
few seconds, and whenever something went wrong: so restarts, an operator's hand and lost answers are noticed, and what to
say follows from what was read (`state.pushing`). When the task ends, it gives the checks back, for a limited time.
"""

from __future__ import annotations

import csv
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import trio

from risefall.daemon.wanted import Wanted
from risefall.errors import PeerLost
from risefall.state.fleet import Effects
from risefall.state.pushing import Command, Ledger, Process, There, Verb, chunks, parse_info, parse_rows
from risefall.surfaces.client import Place, parse_place
from risefall.surfaces.peer import SHOW_SERVERS, Kind, parse_stat

ANSWER_S = 5.0
FAREWELL_S = 2.0
REREAD_S, REREAD_MAX_S = 2.0, 5.0
REREAD_SHARE = 20
"""What takes long to read is read less often, within the bounds above: reading is a twentieth of the time."""

PAUSE_FIRST_S, PAUSE_MAX_S = 0.25, 5.0
LINE_CHARS_MAX = 8000
"""Half of HAProxy's usual `tune.bufsize`, which a line of commands has to fit in; one that does not is refused, and halved."""

REPLY_MAX_BYTES = 256 << 20
READ_BYTES = 1 << 16
ROWS_A_TURN = 500
LINES_MAX = 20
"""Changes of one batch that are told one by one."""

NAMES_TOLD = 5
READ = "show info;show servers state"
DENIED = "Permission denied"


async def exchange(place: Place, line: str) -> str:
    """All that a runtime socket says to one line. Raises: OSError, trio.TooSlowError, PeerLost."""
    with trio.fail_after(ANSWER_S):
        async with await _connect(place) as stream:
            await stream.send_all(f"{line}\n".encode("utf-8", "surrogateescape"))
            pieces, size = [], 0
            while piece := await stream.receive_some(READ_BYTES):
                size += len(piece)
                if size > REPLY_MAX_BYTES:
                    raise PeerLost(f"its answer is longer than {REPLY_MAX_BYTES} bytes")
                pieces.append(piece)
    if not pieces:
        raise PeerLost("it closed the connection without an answer")
    return b"".join(pieces).decode("utf-8", "surrogateescape")


async def _connect(place: Place) -> trio.SocketStream:
    if place.port:
        return await trio.open_tcp_stream(place.host, place.port)
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await sock.connect(place.host)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


class Pusher:
    """One HAProxy. name: its runtime socket, as `parse_place` takes it.

    Args:
        say: tells an operator; must not block.
    Raises: ValueError for what is no socket.
    """

    def __init__(self, name: str, wanted: Wanted, say: Callable[[str], None]) -> None:
        self.name = name
        self.ledger = Ledger()
        self.last_words = ""
        """How giving the checks back went."""
        self._place = parse_place(name)
        self._wanted = wanted
        self._say_out = say
        self._dirty: set[int] = set()
        self._news = trio.Event()
        self._met: Process | None = None
        """The process that was asked which of its servers track others."""
        self._stale = False
        """Another configuration has taken over: all places of servers are others."""
        self._reached = False
        self._lost = ""

    def changed(self, touched: Iterable[int]) -> None:
        """Servers whose state may be another one now."""
        self._dirty.update(touched)
        self._news.set()

    def reloaded(self) -> None:
        """Another configuration has taken over."""
        self._stale = True
        self._news.set()

    def _say(self, text: str) -> None:
        self._say_out(f"push {self.name}: {text}")

    # --- the task -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps that HAProxy as wanted until cancelled, and then gives it its checks back."""
        pause_s = PAUSE_FIRST_S
        try:
            while True:
                self._reached = False
                try:
                    await self._keep()
                except (OSError, trio.TooSlowError, PeerLost) as error:
                    self._tell_lost(error)
                pause_s = PAUSE_FIRST_S if self._reached else min(pause_s * 2, PAUSE_MAX_S)
                await trio.sleep(pause_s)
        finally:
            with trio.CancelScope(shield=True):
                await self._farewell()

    async def _keep(self) -> None:
        """Looks at everything now and then, and says what changes between. Raises when it does not get through."""
        while True:
            read_s = await self._look()
            if self._lost:
                self._say("reached again")
            self._reached, self._lost = True, ""
            again_s = trio.current_time() + min(max(REREAD_S, REREAD_SHARE * read_s), REREAD_MAX_S)
            while trio.current_time() < again_s and not self._stale:
                with trio.move_on_at(again_s):
                    await self._news.wait()
                if not self._stale:
                    await self._say_news()

    async def _look(self) -> float:
        """Reads all servers and says whatever differs. Returns how long the reading took, in seconds."""
        begun_s = trio.current_time()
        await self._read()
        read_s = trio.current_time() - begun_s
        new = self.ledger.process != self._met
        if new:
            self.ledger.tracking = await self._read_tracking()
        self._stale = False
        self._forget_news()
        names = self._wanted.names()
        if new:
            self._met = self.ledger.process
            self._tell_found(names)
        commands: list[Command] = []
        for count, name in enumerate(list(self.ledger.there), 1):
            index = names.get(name)
            if index is None or self._wanted.name(index) == name:
                commands += self.ledger.plan(name, None if index is None else self._wanted.want(index))
            if count % ROWS_A_TURN == 0:
                await trio.lowlevel.checkpoint()
                if self._stale:
                    break
        await self._carry_out(commands)
        return read_s

    async def _read(self) -> None:
        """Takes the state of all servers. Raises: PeerLost."""
        text = await exchange(self._place, READ)
        head, mark, state = text.partition("# be_id ")
        process = parse_info(head)
        rows: dict[str, There] = {}
        try:
            for count, (name, there) in enumerate(parse_rows(mark + state)):
                rows[name] = there
                if count % ROWS_A_TURN == 0:
                    await trio.lowlevel.checkpoint()
        except ValueError:
            process = None
        if process is None:
            raise PeerLost(f"this is no runtime socket of HAProxy; it says: {text.strip()[:80]!r}")
        for line in self.ledger.read(process, rows):
            self._say(line)

    async def _read_tracking(self) -> frozenset[str]:
        """Servers that track others there."""
        text = await exchange(self._place, SHOW_SERVERS)
        try:
            rows = await trio.to_thread.run_sync(parse_stat, text)
        except (ValueError, csv.Error):
            return frozenset()
        return frozenset(row.name for row in rows if row.kind is Kind.SERVER and row.text("tracked"))

    async def _say_news(self) -> None:
        """Says what became of the servers that have changed, whatever was on the way to be said before."""
        commands: list[Command] = []
        for index in self._forget_news():
            if name := self._wanted.name(index):
                commands += self.ledger.plan(name, self._wanted.want(index))
        await self._carry_out(commands)

    def _forget_news(self) -> list[int]:
        """The servers that have changed since it was asked last."""
        dirty = sorted(self._dirty)
        self._dirty.clear()
        self._news = trio.Event()
        return dirty

    # --- commands -------------------------------------------------------------------------------------------

    async def _carry_out(self, commands: Sequence[Command]) -> None:
        """Says commands, in order, and tells what was done."""
        done: list[Command] = []
        try:
            for chunk in chunks(commands, LINE_CHARS_MAX):
                done += await self._order(chunk)
        finally:
            self._tell_done(done)

    async def _order(self, chunk: list[Command]) -> list[Command]:
        """Says some on one line. A refusal does not tell whose it is, so they are said again in halves: twice is as once.

        Returns: those that were carried out.
        """
        done: list[Command] = []
        waiting = [chunk]
        while waiting:
            part = waiting.pop()
            reply = (await exchange(self._place, ";".join(command.text for command in part))).strip()
            if not reply:
                for command in part:
                    self.ledger.done(command)
                done += part
            elif reply.startswith(DENIED):
                raise PeerLost("it does not let us: its `stats socket` line needs `level admin`")
            elif len(part) == 1:
                if self.ledger.done(part[0], reply):
                    self._say(f"'{part[0].text}' was refused: {reply.splitlines()[0][:200]}")
            else:
                half = len(part) // 2
                waiting += [part[half:], part[:half]]
        return done

    async def _farewell(self) -> None:
        """Gives everything back, if that can be done soon. Never raises."""
        if self.ledger.process is None:
            return
        ours = self.ledger.ours
        why = f"no answer within {FAREWELL_S:g} s"
        heard = False
        with trio.move_on_after(FAREWELL_S):
            try:
                await self._read()
                ours = self.ledger.ours
                await self._carry_out(self.ledger.plan_farewell())
                heard = True
            except (OSError, trio.TooSlowError, PeerLost) as error:
                why = reason(error)
        if ours and heard:
            self.last_words = f"push {self.name}: gave the checks of {servers(ours)} back"
        elif ours:
            self.last_words = (
                f"push {self.name}: could not give the checks of {servers(ours)} back: {why}; "
                "there, `enable health <backend>/<server>` does, or a restart"
            )

    # --- what an operator hears -----------------------------------------------------------------------------

    def _tell_found(self, names: Mapping[str, int]) -> None:
        """A HAProxy process that was not known before: which servers both have."""
        process = self.ledger.process
        assert process is not None
        both = len(self.ledger.there.keys() & names.keys())
        self._say(
            f"HAProxy {process.version} (pid {process.pid}): {both} of its {len(self.ledger.there)} servers are known here"
        )
        missing = [name for name in names if name not in self.ledger.there]
        if missing:
            self._say(
                f"{servers(len(missing))} of ours {'is' if len(missing) == 1 else 'are'} not there: {some(missing)}"
            )
        strange = [name for name in names if name in self.ledger.tracking and not self._wanted.follows(names[name])]
        if strange:
            self._say(f"tracking others there and not here, cannot be set: {servers(len(strange))}, {some(strange)}")

    def _tell_done(self, done: Sequence[Command]) -> None:
        taken = sum(command.verb is Verb.TAKE_HEALTH for command in done)
        given = sum(command.verb is Verb.GIVE_HEALTH for command in done)
        if taken:
            self._say(f"its own checks are disabled for {servers(taken)}: the state is set from here")
        if given:
            self._say(f"its own checks are enabled again for {servers(given)}")
        told = [command for command in done if command.verb in (Verb.HEALTH, Verb.STATE, Verb.WEIGHT)]
        if len(told) <= LINES_MAX:
            for command in told:
                self._say(f"{command.name}: {shown(command)}")
            return
        for what, count in Counter(map(shown, told)).most_common(LINES_MAX):
            self._say(f"{servers(count)}: {what}")

    def _tell_lost(self, error: Exception) -> None:
        """Once for each reason, until it is reached again."""
        why = reason(error)
        if why != self._lost:
            self._lost = why
            self._say(f"{why}; trying again")


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:NAMES_TOLD]) + (", ..." if len(names) > NAMES_TOLD else "")


def servers(count: int) -> str:
    return f"{count} server{'' if count == 1 else 's'}"


def shown(command: Command) -> str:
    """`DOWN`, `weight 5`, `drain, its agent says`."""
    match command.verb:
        case Verb.WEIGHT:
            return f"weight {command.value}"
        case Verb.STATE:
            return f"{command.value}, its agent says"
        case _:
            return command.value.upper()


def reason(error: Exception) -> str:
    """Why it could not be reached."""
    if isinstance(error, trio.TooSlowError):
        return f"no whole answer within {ANSWER_S:g} s"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


class Push:
    """All HAProxys that one fleet is pushed to. Raises: ValueError for what is no socket."""

    def __init__(self, names: Sequence[str], wanted: Wanted, say: Callable[[str], None]) -> None:
        self._wanted = wanted
        self.pushers = [Pusher(name, wanted, say) for name in dict.fromkeys(names)]

    def changed(self, effects: Effects) -> None:
        """Hears of every change of the fleet."""
        if touched := self._wanted.note(effects):
            for pusher in self.pushers:
                pusher.changed(touched)

    def reloaded(self) -> None:
        """Another configuration has taken over."""
        self._wanted.reloaded()
        for pusher in self.pushers:
            pusher.reloaded()

    @property
    def last_words(self) -> list[str]:
        """How it ended, for each that has something to say."""
        return [pusher.last_words for pusher in self.pushers if pusher.last_words]
