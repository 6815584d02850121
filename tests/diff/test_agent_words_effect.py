"""Every word and every combination that the agent can say, in the real HAProxy: state, weight, limit, and its log.

Each row is a service of one running agent and a server of one running HAProxy. First the numbers are fresh and nothing
else is said; then the row's order, condition and age come, and the line that a client hears and what HAProxy makes of it
are those of the row; then all is taken back, and the server is as before. Takes about ten seconds of real time.
Source: spec/haproxy-checks.md §4.2 - §4.5, §6.2, §6.3; haproxy 2.6.
"""

from __future__ import annotations

import csv
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from risefall.agent.leases import OrderWord, Slot, make_order
from risefall.agent.machine import this_machine
from risefall.agent.service import Service
from risefall.agent.settings import Agent, Condition, File, FileOf, MaxConn, Op, Safe, Say, Settings
from risefall.agent.settings import Service as ServiceSettings

WAIT_S = 20.0
LONG_S = 120.0
NONE = "-"
RUNNING, STOPPED = 2, 0
FMAINT, FDRAIN = 1, 8
"""Of `show servers state`: srv_op_state, and bits of srv_admin_state."""

# order, condition, age | the line | op state, admin state, weight | what the log says of the server
#
# The load says 40 % and maxconn 9; an order's reason is "deploy", a condition's "disk"; the order `weight` is of 70 %.
# Age: fresh; else too old, with the safe word of that name; `unread` was never read. Numbers that are not said stay.
TABLE = r"""
-        -       fresh    | up 40% maxconn:9                   | 2 0 40  | Agent check for server .*succeeded.*via agent : up", .*status: 1/1 UP
-        drain   fresh    | up drain 40% maxconn:9 #disk       | 2 8 40  | enters drain state
-        maint   fresh    | up maint 40% maxconn:9 #disk       | 0 1 40  | is going DOWN for maintenance
-        down    fresh    | down 40% maxconn:9 #disk           | 0 0 40  | via agent : down .disk."
-        fail    fresh    | fail 40% maxconn:9 #disk           | 0 0 40  | via agent : fail .disk."
-        stopped fresh    | stopped 40% maxconn:9 #disk        | 0 0 40  | via agent : stopped .disk."
drain    -       fresh    | up drain 40% maxconn:9 #deploy     | 2 8 40  | enters drain state
drain    drain   fresh    | up drain 40% maxconn:9 #deploy     | 2 8 40  | enters drain state
drain    maint   fresh    | up drain 40% maxconn:9 #deploy     | 2 8 40  | enters drain state
drain    down    fresh    | down drain 40% maxconn:9 #deploy   | 0 8 40  | via agent : down .deploy."
drain    stopped fresh    | stopped drain 40% maxconn:9 #deploy | 0 8 40 | via agent : stopped .deploy."
drain    fail    fresh    | fail drain 40% maxconn:9 #deploy   | 0 8 40  | via agent : fail .deploy."
maint    -       fresh    | up maint 40% maxconn:9 #deploy     | 0 1 40  | is going DOWN for maintenance
maint    drain   fresh    | up maint 40% maxconn:9 #deploy     | 0 1 40  | is going DOWN for maintenance
maint    down    fresh    | down maint 40% maxconn:9 #deploy   | 0 1 40  | DOWN
ready    -       fresh    | up 40% maxconn:9 #deploy           | 2 0 40  |
ready    drain   fresh    | up 40% maxconn:9 #deploy           | 2 0 40  |
ready    maint   fresh    | up 40% maxconn:9 #deploy           | 2 0 40  |
ready    down    fresh    | up 40% maxconn:9 #deploy           | 2 0 40  |
weight   -       fresh    | up 70% maxconn:9 #deploy           | 2 0 70  |
weight   drain   fresh    | up drain 70% maxconn:9 #deploy     | 2 8 70  | enters drain state
weight   maint   fresh    | up maint 70% maxconn:9 #deploy     | 0 1 70  | is going DOWN for maintenance
weight   down    fresh    | down 70% maxconn:9 #deploy         | 0 0 70  | via agent : down .deploy."
weight   fail    fresh    | fail 70% maxconn:9 #deploy         | 0 0 70  | via agent : fail .deploy."
weight   stopped fresh    | stopped 70% maxconn:9 #deploy      | 0 0 70  | via agent : stopped .deploy."
nothing  -       fresh    | up 0% maxconn:9 #deploy            | 2 0 0   | has no server available!
full     -       fresh    | up 100% maxconn:9 #deploy          | 2 0 100 |
-        -       down     | down #stale                        | 0 0 40  | via agent : down .stale."
-        -       stopped  | stopped #stale                     | 0 0 40  | via agent : stopped .stale."
-        -       fail     | fail #stale                        | 0 0 40  | via agent : fail .stale."
-        -       up       | up #stale                          | 2 0 40  |
-        drain   down     | down drain #stale                  | 0 8 40  | via agent : down .stale."
-        maint   down     | down maint #stale                  | 0 1 40  | DOWN
-        down    down     | down #stale                        | 0 0 40  | via agent : down .disk."
drain    -       down     | down drain #deploy                 | 0 8 40  | via agent : down .deploy."
maint    -       down     | down maint #deploy                 | 0 1 40  | DOWN
ready    -       down     | up #deploy                         | 2 0 40  |
weight   -       down     | down 70% #deploy                   | 0 0 70  | via agent : down .deploy."
-        -       silence  | -                                  | 2 0 40  |
-        drain   silence  | -                                  | 2 8 40  | enters drain state
drain    -       silence  | drain #deploy                      | 2 8 40  | enters drain state
maint    -       silence  | maint #deploy                      | 0 1 40  | is going DOWN for maintenance
ready    -       silence  | up #deploy                         | 2 0 40  |
weight   -       silence  | 70% #deploy                        | 2 0 70  |
-        -       unread   | -                                  | 2 0 100 |
drain    -       unread   | drain #deploy                      | 2 8 100 | enters drain state
maint    -       unread   | maint #deploy                      | 0 1 100 | is going DOWN for maintenance
weight   -       unread   | 70% #deploy                        | 2 0 70  |
"""
CLOSING = r"""
drain   | up drain 100% #agent stops   | 2 8 100 | enters drain state
maint   | up maint 100% #agent stops   | 0 1 100 | is going DOWN for maintenance
down    | down 100% #agent stops       | 0 0 100 | via agent : down .agent stops."
stopped | stopped 100% #agent stops    | 0 0 100 | via agent : stopped .agent stops."
fail    | fail 100% #agent stops       | 0 0 100 | via agent : fail .agent stops."
"""
"""The last word of an agent that ends: each has an agent of its own."""
REASONS = {
    "words": ("down drain maint 5% maxconn:1", "down drain maint 5% maxconn:1"),
    "marks": ("90% #full, see (42)", "90% #full, see (42)"),
    "quotes": ('disk "sda" <bad>', "disk <22>sda<22> <3C>bad<3E>"),
    "beyond": ("Größe", "Gr??e"),
    "long": ("x" * 200, "x" * 100),
}
"""A reason, and what HAProxy logs of it; nothing in it is a word."""
WEIGHTS = {"weight": 70, "nothing": 0, "full": 100}
STALE_MS = 2000
"""A machine that is held up for less than this makes nothing stale by itself."""


class Row(msgspec.Struct, frozen=True):
    """One service. line: "-" for silence. log: a regular expression; "" asks for nothing."""

    name: str
    order: str
    condition: str
    age: str
    line: str
    op: int
    admin: int
    weight: int
    log: str
    reason: str = "disk"

    @property
    def settled(self) -> tuple[int, int, int]:
        return self.op, self.admin, self.weight


def rows() -> list[Row]:
    found = []
    for number, text in enumerate(TABLE.strip().splitlines()):
        cause, line, effect, log = (part.strip() for part in text.split("|"))
        order, condition, age = cause.split()
        op, admin, weight = map(int, effect.split())
        found.append(Row(f"r{number}", order, condition, age, line, op, admin, weight, log))
    for name, (reason, logged) in REASONS.items():
        line = f"down 40% maxconn:9 #{''.join(char if char.isascii() else '?' for char in reason)[:100]}"
        log = re.escape(f'info: "via agent : down ({logged})"')
        found.append(Row(name, NONE, "down", "fresh", line, STOPPED, 0, 40, log, reason))
    return found


ROWS = rows()


def service_of(row: Row, folder: Path) -> ServiceSettings:
    """`n` is the load, 60 for a weight of 40 %; `c` is the condition's, 1 while it holds."""
    stale = row.age not in ("fresh", "unread")
    numbers = {name: str(folder / f"{row.name}.{name}") for name in "nc"}
    signals = tuple(
        File(
            name=name,
            path=path,
            of=FileOf.NUMBER,
            every_ms=100,
            curve=((0, 100), (100, 0)) if name == "n" else (),
        )
        for name, path in numbers.items()
    )
    state = ()
    if row.condition != NONE:
        state = (Condition(say=Say(row.condition), signal="c", op=Op.EQUAL, value=1, reason=row.reason),)
    return ServiceSettings(
        send=row.name, signal=signals, state=state, smooth_ms=0, hysteresis_pct=0, step_pct=10_000,
        maxconn=MaxConn(signal="n", curve=((0, 9), (100, 9)), divide=False),
        stale_ms=STALE_MS if stale else 600_000, stale_word=Safe(row.age) if stale else Safe.DOWN,
    )  # fmt: skip


CONFIG = """\
global
    stats socket {folder}/s mode 600 level admin
    log 127.0.0.1:{log} len 4096 local0
defaults
    mode tcp
    log global
    option log-health-checks
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend f
    bind {folder}/f
    default_backend {first}
"""
BACKEND = """\
backend {name}
    server app 127.0.0.1:9 weight 100 agent-check agent-inter 100ms agent-port {port} agent-send "{name} web\\n"
"""


class Peer:
    """A running HAProxy: what it knows of each server, and what it has logged."""

    def __init__(self, folder: Path, log: socket.socket) -> None:
        self._path = str(folder / "s")
        self._log = log
        self.lines: list[str] = []

    def ask(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(WAIT_S)
            stream.connect(self._path)
            stream.sendall(line.encode() + b"\n")
            return stream.makefile("rb").read().decode()

    def states(self) -> dict[str, tuple[int, int, int]]:
        """Of each backend's server: op state, admin state, weight."""
        names, *values = (line.split() for line in self.ask("show servers state").splitlines()[1:] if line)
        found = (dict(zip(names[1:], each, strict=True)) for each in values)
        return {
            row["be_name"]: (int(row["srv_op_state"]), int(row["srv_admin_state"]), int(row["srv_uweight"]))
            for row in found
        }

    def limits(self) -> dict[str, tuple[str, str]]:
        """Of each backend's server: its maxconn, and the status of its last agent check."""
        table = csv.DictReader(self.ask("show stat -1 4 -1").removeprefix("# ").splitlines())
        return {row["pxname"]: (row["slim"], row["agent_status"].removeprefix("* ")) for row in table}

    def said(self, name: str) -> list[str]:
        """What the log has of a backend and its server so far, oldest first."""
        while True:
            try:
                line = self._log.recv(65536, socket.MSG_DONTWAIT).decode()
            except BlockingIOError:
                break
            self.lines.append(line)
        return [line for line in self.lines if f" {name}/app " in line or f" backend {name} " in line]

    async def until_said(self, name: str, pattern: str, where: str) -> None:
        """Waits for a line of a server's log."""
        with trio.move_on_after(WAIT_S):
            while not any(re.search(pattern, line) for line in self.said(name)):
                await trio.sleep(0.03)
            return
        raise AssertionError(f"{where}: no {pattern!r} in {self.said(name)[:5]}")


@asynccontextmanager
async def haproxy(folder: Path, ports: dict[str, int]) -> AsyncIterator[Peer]:
    """A HAProxy that polls an agent's port for each service, and logs to a socket that nothing else reads."""
    # UDP: a UNIX socket holds few datagrams (net.unix.max_dgram_qlen), and haproxy drops what does not fit.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
        log.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        log.bind(("127.0.0.1", 0))
        text = CONFIG.format(folder=folder, first=next(iter(ports)), log=log.getsockname()[1])
        text += "".join(BACKEND.format(name=name, port=port) for name, port in ports.items())
        (folder / "cfg").write_text(text)
        with subprocess.Popen(["haproxy", "-db", "-f", str(folder / "cfg")], stderr=subprocess.DEVNULL) as process:
            try:
                while not (folder / "s").exists():
                    assert process.poll() is None, "haproxy ended"
                    await trio.sleep(0.02)
                yield Peer(folder, log)
            finally:
                process.kill()


async def ask(port: int, text: str) -> str:
    """What another balancer hears; "-" for a reset."""
    try:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(text.encode())
            return b"".join([piece async for piece in stream]).decode().rstrip("\n")
    except (trio.BrokenResourceError, OSError):
        return NONE


async def until(what: Callable[[], Awaitable[object]], wanted: object, where: str) -> None:
    """Waits for a value, with a deadline; what there is instead is told."""
    with trio.move_on_after(WAIT_S):
        while (found := await what()) != wanted:
            await trio.sleep(0.03)
        return
    raise AssertionError(f"{where}: still {found!r}, not {wanted!r}")


class Play:
    """One row of the table, with all others beside it."""

    def __init__(self, row: Row, folder: Path, service: Service, port: int, peer: Peer) -> None:
        self.row = row
        self.folder = folder
        self.service = service
        self.port = port
        self.peer = peer
        self.where = f"{row.order} {row.condition} {row.age}"
        self.heard: list[list[str]] = []
        """The words of every line that the client heard, oldest first."""

    def put(self, name: str, value: int | None) -> None:
        path = self.folder / f"{self.row.name}.{name}"
        if value is None:
            path.unlink(missing_ok=True)
            return
        (self.folder / f"{self.row.name}.new").write_text(f"{value}\n")
        (self.folder / f"{self.row.name}.new").rename(path)

    async def line(self) -> str:
        said = await ask(self.port, f"{self.row.name} test\n")
        self.heard.append(said.partition("#")[0].split())
        return said

    async def state(self) -> tuple[int, int, int]:
        await trio.lowlevel.checkpoint()
        return self.peer.states()[self.row.name]

    async def limit(self) -> str:
        await trio.lowlevel.checkpoint()
        return self.peer.limits()[self.row.name][0]

    async def before(self) -> None:
        """Fresh numbers, unless the row's are never read."""
        self.put("c", 0)
        if self.row.age == "unread":
            return
        self.put("n", 60)
        await until(self.line, "up 40% maxconn:9", self.where)
        await until(self.state, (RUNNING, 0, 40), self.where)
        await until(self.limit, "9", self.where)

    async def during(self) -> None:
        """The row's causes, its line and its effect."""
        row = self.row
        if row.condition != NONE:
            self.put("c", 1)
            admin = row.condition in ("drain", "maint")
            if row.age != "fresh":  # what is old must have been known
                fresh = f"up {row.condition}" if admin else row.condition
                await until(self.line, f"{fresh} 40% maxconn:9 #{row.reason}", self.where)
                wanted = {"drain": (RUNNING, FDRAIN, 40), "maint": (STOPPED, FMAINT, 40)}
                await until(self.state, wanted.get(row.condition, (STOPPED, 0, 40)), self.where)
        if row.order != NONE:
            weight = WEIGHTS.get(row.order)
            word = OrderWord(row.order) if weight is None else OrderWord.WEIGHT
            self.service.desk.give(make_order(row.name, word, 0, weight_pct=weight, reason="deploy"))
            self.service.ordered()
        if row.age not in ("fresh", "unread"):
            self.put("n", None)
        await until(self.line, row.line, self.where)
        await until(self.state, row.settled, self.where)
        if row.line == NONE:
            await until(self.got_nothing, True, self.where)
            assert await self.state() == row.settled
        if row.age != "unread":
            assert await self.limit() == "9"
        if row.log:
            await self.peer.until_said(row.name, row.log, self.where)

    async def got_nothing(self) -> bool:
        """HAProxy has seen a reset; which status that is hangs on whether its own text was on its way."""
        await trio.lowlevel.checkpoint()
        return self.peer.limits()[self.row.name][1] in ("SOCKERR", "L7RSP")

    async def after(self) -> None:
        """All is taken back; `ready` is said where `drain` or `maint` was, and nowhere else."""
        row = self.row
        self.put("n", 60)
        self.put("c", 0)
        for slot in Slot:
            self.service.desk.release(row.name, slot)
        self.service.ordered()
        await until(self.line, "up 40% maxconn:9", self.where)
        await until(self.state, (RUNNING, 0, 40), self.where)
        owed, times = False, 0
        for words in self.heard:
            if "ready" in words:
                assert owed, (self.where, self.heard)
                owed, times = False, times + 1
            owed = owed or "drain" in words or "maint" in words
        assert not owed, (self.where, self.heard)
        assert times or not row.admin, (self.where, self.heard)

    async def run(self, wrong: list[AssertionError]) -> None:
        """Before, during and after; the other rows go on where one is wrong."""
        try:
            await self.before()
            await self.during()
            await self.after()
        except AssertionError as error:
            wrong.append(error)


async def story(folder: Path) -> None:
    settings = Settings(
        agent=Agent(listen=("127.0.0.1:0",), send_ms=5000, connections_per_source=1000),
        service={row.name: service_of(row, folder) for row in ROWS},
    )
    service = Service(settings, this_machine(), None, lambda line: None)
    wrong: list[AssertionError] = []
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(service.run)
        port = addresses[0][1]
        async with haproxy(folder, {row.name: port for row in ROWS}) as peer, trio.open_nursery() as plays:
            for row in ROWS:
                plays.start_soon(Play(row, folder, service, port, peer).run, wrong)
        service.stop()
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_every_combination_has_the_effect_that_is_written() -> None:
    async def main(folder: Path) -> None:
        with trio.fail_after(LONG_S):
            await story(folder)

    with tempfile.TemporaryDirectory() as folder:  # its path is short: a socket's may have 107 bytes
        trio.run(main, Path(folder))


def test_the_table_has_every_word() -> None:
    """A word that the settings or orders gain needs a row."""
    assert {row.order for row in ROWS} == {NONE, *OrderWord, *WEIGHTS}
    assert {row.condition for row in ROWS} == {NONE, *Say}
    assert {row.age for row in ROWS} == {"fresh", "unread", *Safe}
    assert {line.split()[0] for line in CLOSING.strip().splitlines()} == set(Say)
    assert len(ROWS) <= 64


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_the_last_word_of_an_agent_has_its_effect() -> None:
    async def main(folder: Path) -> None:
        with trio.fail_after(LONG_S):
            await last_words(folder)

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder))


async def last_words(folder: Path) -> None:
    found = [[part.strip() for part in text.split("|")] for text in CLOSING.strip().splitlines()]
    async with trio.open_nursery() as nursery:
        agents: dict[str, tuple[Service, int]] = {}
        for word, *_ in found:
            agent = Agent(listen=("127.0.0.1:0",), send_ms=5000, shutdown=Say(word), shutdown_ms=600_000)
            settings = Settings(agent=agent, service={word: ServiceSettings(send=word)})
            service = Service(settings, this_machine(), None, lambda line: None)
            addresses = await nursery.start(service.run)
            agents[word] = service, addresses[0][1]
        async with haproxy(folder, {word: port for word, (_, port) in agents.items()}) as peer:

            async def state() -> tuple[int, int, int]:
                await trio.lowlevel.checkpoint()
                return peer.states()[word]

            async def line() -> str:
                return await ask(agents[word][1], f"{word} test\n")

            for word, said, effect, log in found:
                await until(state, (RUNNING, 0, 100), word)
                agents[word][0].stop()
                await until(line, said, word)
                await until(state, tuple(map(int, effect.split())), word)
                await peer.until_said(word, log, word)
        nursery.cancel_scope.cancel()
