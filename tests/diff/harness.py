"""Differential tests: haproxy 2.6 and risefall, one configuration, the same played backends, side by side.

A `Scenario` is data: a backend of the configuration, how each of its servers is played, what is done to them and
when. Every scenario becomes one backend of one configuration; each side gets its own listeners, which play the same
scripts by the number of the connection, so that the k-th check of a server meets the same answer on both sides.
What is seen goes into an `Outcome`: log lines with time, pid and milliseconds masked, the statuses that each server
went through, its last state in full, the requests as they came. Outcomes of two sides are equal, or the test fails.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from haproxy_kit import stop
from risefall.engine.play import Act, Door, Listener, Player

POLL_S = 0.02
START_S = 20.0
SCENARIO_S = 25.0
SETTLE_S = 3.0
TOLERANCE_MS = 60
GLIMPSE_MS = 210
FRESH_NS = 60_000_000
ROOT = Path(__file__).resolve().parents[2]

STAT_COLUMNS = [
    "status",
    "weight",
    "act",
    "bck",
    "chkfail",
    "chkdown",
    "check_status",
    "check_code",
    "last_chk",
    "last_agt",
    "agent_status",
    "agent_code",
    "check_desc",
    "agent_desc",
    "check_rise",
    "check_fall",
    "check_health",
    "agent_rise",
    "agent_fall",
    "agent_health",
    "tracked",
    "uweight",
]
STATE_COLUMNS = [
    "srv_op_state",
    "srv_admin_state",
    "srv_uweight",
    "srv_iweight",
    "srv_check_status",
    "srv_check_result",
    "srv_check_health",
    "srv_check_state",
    "srv_agent_state",
]


# --- what a scenario is ---------------------------------------------------------------------------


class Until(msgspec.Struct, frozen=True):
    """What a step waits for; every one that is given must hold. Counted from the end of the step before.

    log: a regex, found in a new line of this scenario. status: `s1=UP`, a server's status column, `s1=` + regex.
    checks: `s1+3`, that many new connections to the listener of s1, the last of them just now. A step that acts waits
    too until no check is under way, since what a command does to one that is depends on how far it has come.
    """

    log: str = ""
    status: str = ""
    checks: str = ""


class Step(msgspec.Struct, frozen=True):
    """Waits, then acts. cli: runtime commands, `{b}` is the backend, `{s1.port}` a listener's. doors, scripts: by listener name."""

    until: Until = Until()
    cli: tuple[str, ...] = ()
    doors: dict[str, Door] = {}
    scripts: dict[str, tuple[Act, ...]] = {}


class Scenario(msgspec.Struct, frozen=True):
    """One backend and its story.

    lines: of the backend; in them and in `servers`, `{s1}` is the address of listener s1, `{s1.host}`, `{s1.port}`
    its parts, `{b}` the backend, `{folder}` an empty folder. kind: `backend` or `listen`. defaults: of a section of
    its own that the backend inherits from.
    plays: listener name to its acts (the last one is repeated). hosts: where a listener is not on 127.0.0.1 (`::1`,
    `unix`). doors: how a listener begins.
    steps: what happens; the last one's `until` is what the scenario ends with.
    ordered: log lines of different servers come in one order. requests: listeners whose requests are compared.
    gaps: listeners whose times between checks are compared (TOLERANCE_MS apart at most). timed: durations in log
    lines are compared too, as closely. spec: sections whose rows it covers.
    """

    name: str
    spec: str
    servers: tuple[str, ...]
    plays: dict[str, tuple[Act, ...]]
    lines: tuple[str, ...] = ("option httpchk", "option log-health-checks")
    hosts: dict[str, str] = {}
    doors: dict[str, Door] = {}
    steps: tuple[Step, ...] = ()
    defaults: tuple[str, ...] = ()
    kind: str = "backend"
    ordered: bool = True
    requests: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    timed: bool = False


class Outcome(msgspec.Struct):
    """What one side did. log: `<level> text`. replies: of its runtime commands. states: server to the statuses that it
    showed, each with the milliseconds that it lasted at least.

    last: server to its last state, by column. requests: listener to the bytes of its first requests, as text.
    gaps_ms, durations_ms: of scenarios that ask for them.
    """

    log: list[str]
    replies: list[str]
    states: dict[str, list[tuple[str, int]]]
    last: dict[str, dict[str, str]]
    requests: dict[str, list[str]]
    gaps_ms: dict[str, list[int]]
    durations_ms: list[int]


def differences(ours: Outcome, theirs: Outcome, *, held_up_ms: int = 0) -> list[str]:
    """What two outcomes do not agree on, a line each; empty when they are equal.

    held_up_ms: the longest that the machine let a look at the states wait: what may have been missed, or come so much late.
    """
    found: list[str] = []
    for field in ("log", "replies", "last", "requests"):
        one, other = getattr(ours, field), getattr(theirs, field)
        if one != other:
            found += [f"{field}:", *_unified(one, other)]
    glimpse_ms, tolerance_ms = max(GLIMPSE_MS, 2 * held_up_ms), max(TOLERANCE_MS, held_up_ms)
    for name in ours.states.keys() | theirs.states.keys():
        shown, others = ours.states.get(name, []), theirs.states.get(name, [])
        if not (_within(shown, others, glimpse_ms) and _within(others, shown, glimpse_ms)):
            found += [f"states of {name}:", *_unified([text for text, _ in shown], [text for text, _ in others])]
    for name in ours.gaps_ms:
        found += _apart(f"gaps of {name}", ours.gaps_ms[name], theirs.gaps_ms.get(name, []), tolerance_ms)
    return found + _apart("durations", ours.durations_ms, theirs.durations_ms, tolerance_ms)


def _within(ours: Sequence[tuple[str, int]], theirs: Sequence[tuple[str, int]], glimpse_ms: int) -> bool:
    """Whether all that lasted on one side was seen on the other, in that order.

    What lasts for less may be missed; and 2.6 shows `UP -1/3` for an instant, when its counter has moved and its state
    has not.
    """
    left = iter(text for text, _ in theirs)
    return all(text in left for text, ms in ours if ms >= glimpse_ms)


def _unified(ours: object, theirs: object) -> list[str]:
    def lines(value: object) -> list[str]:
        return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).splitlines()

    return list(difflib.unified_diff(lines(theirs), lines(ours), "theirs", "ours", lineterm="", n=1))[2:]


def _apart(what: str, ours: Sequence[int], theirs: Sequence[int], tolerance_ms: int) -> list[str]:
    both = list(zip(ours, theirs, strict=False))  # one side may have run longer
    if any(abs(one - other) > tolerance_ms for one, other in both) or bool(ours) != bool(theirs):
        return [f"{what}: ours {ours}, theirs {theirs}"]
    return []


# --- addresses ------------------------------------------------------------------------------------


class Endpoint:
    """Where a listener is, as configurations write it: `{s1}`, `{s1.host}`, `{s1.port}`, `{s1.path}`."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port, self.path = host, port, host

    def __str__(self) -> str:
        if self.host.startswith("/"):
            return f"unix@{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Stage:
    """The listeners of one side, and the configuration that names them."""

    def __init__(self, player: Player, scenarios: Sequence[Scenario], folder: Path) -> None:
        self.player, self.scenarios, self.folder = player, scenarios, folder
        self.listeners: dict[str, dict[str, Listener]] = {}
        self.endpoints: dict[str, dict[str, Endpoint]] = {}
        for scenario in scenarios:
            self.listeners[scenario.name], self.endpoints[scenario.name] = {}, {}
            for name, acts in scenario.plays.items():
                host = scenario.hosts.get(name, "127.0.0.1")
                host = str(folder / f"{len(self.endpoints)}{name}.sock") if host == "unix" else host
                listener, port = player.listen(host, 0, *acts)
                if (door := scenario.doors.get(name)) is not None:
                    player.door(listener, door)
                self.listeners[scenario.name][name] = listener
                self.endpoints[scenario.name][name] = Endpoint(host, port)

    def config(self, log_port: int, socket_path: str) -> str:
        """The text of the haproxy.cfg of this side."""
        common = "    log global\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 5s"
        text = [
            f"global\n    log 127.0.0.1:{log_port} local0\n    log-tag check\n    node diffnode\n    maxconn 200",
            f"    nbthread 1\n    stats socket {socket_path} level admin\n    stats timeout 60s",
            f"defaults all\n{common}",
        ]
        for scenario in self.scenarios:
            words = {"b": scenario.name, "folder": self.folder, **self.endpoints[scenario.name]}
            inherits = f"own-{scenario.name}" if scenario.defaults else "all"
            if scenario.defaults:
                text += [f"defaults {inherits}\n{common}", *(f"    {line}" for line in scenario.defaults)]
            text.append(f"{scenario.kind} {scenario.name} from {inherits}")
            text += [f"    {line.format_map(words)}" for line in scenario.lines]
            text += [f"    server {line.format_map(words)}" for line in scenario.servers]
        return "\n".join(text) + "\n"


# --- one side -------------------------------------------------------------------------------------

LINE = re.compile(r"^<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d (\S+?)(?:\[\d+\])?: (.*)$", re.DOTALL)
DURATION = re.compile(r"check duration: (\d+)ms")


def masked(datagram: bytes) -> str:
    """`<level> tag text` of a syslog datagram, without time and pid; milliseconds are masked."""
    text = datagram.decode("latin-1").rstrip("\n")
    found = LINE.match(text)
    assert found, f"not a syslog line: {text!r}"
    return f"<{found[1]}> {found[2]} " + DURATION.sub("check duration: #ms", found[3])


MODULE_COLUMNS = re.compile(r"(?<=agg_check_status),-,\S+")
"""The columns behind `-` depend on how haproxy was built (spec 7.3)."""


STATE_AGE = re.compile(r"^\d+ ((?:\S+ ){7}\S+) \d+(?= \d+ \d+ \d+ \d+ )", re.MULTILINE)
"""The backend's id and the seconds since the last change, in a line of `show servers state`."""
CONN_ID = re.compile(r"^(\S+/\S+) \d+/", re.MULTILINE)
"""The backend's id in a line of `show servers conn`."""


class Seen:
    """A status that is shown, since when and for how long."""

    def __init__(self, text: str) -> None:
        self.text, self.since_ns, self.ms = text, time.monotonic_ns(), 0


class Side:
    """One program on one stage: its process, its log, what its servers showed."""

    def __init__(self, program: str, stage: Stage, folder: Path) -> None:
        self.program, self.stage = program, stage
        self.socket_path = folder / f"{program}.sock"
        self.log_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.log_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.log_socket.bind(("127.0.0.1", 0))
        self.log_socket.settimeout(0.1)
        self.config_path = folder / f"{program}.cfg"
        own = self.socket_path if program.startswith("haproxy") else folder / "unused.sock"
        self.config_path.write_text(stage.config(self.log_socket.getsockname()[1], str(own)))
        self.output = folder / f"{program}.out"
        self.lines: dict[str, list[tuple[str, str]]] = {scenario.name: [] for scenario in stage.scenarios}
        self.replies: dict[str, list[str]] = {scenario.name: [] for scenario in stage.scenarios}
        self.lines_told = dict.fromkeys(self.lines, 0)
        self.strange: list[str] = []
        self.states: dict[str, dict[str, list[Seen]]] = {scenario.name: {} for scenario in stage.scenarios}
        self.now: dict[tuple[str, str], str] = {}
        self.busy: set[str] = set()
        self.looked_ns = 0
        self.slowest_poll_s = 0.0
        self.unfinished: dict[str, str] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.starts_ns: dict[str, int] = {}
        self.done = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None

    def argv(self) -> list[str]:
        """The command line of this side's program."""
        if self.program.startswith("haproxy"):
            return [shutil.which("haproxy") or "haproxy", "-db", "-f", str(self.config_path)]
        return [sys.executable, "-m", "risefall", "run", "-f", str(self.config_path), "--as", "2.6", "--log", "config"]

    def run(self) -> dict[str, Outcome]:
        """Starts the program, plays every scenario to its end, collects, ends the program."""
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, "PYTHONPATH": path, "RISEFALL_SOCKET": str(self.socket_path)}
        with self.output.open("wb") as output, self.log_socket:
            self.process = subprocess.Popen(
                self.argv(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            log = threading.Thread(target=self._read_log)
            log.start()
            try:
                self._play()
                return self._collect()
            finally:
                self.done.set()
                log.join()
                stop(self.process)

    def ask(self, command: str) -> str:
        """One command on the runtime socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(str(self.socket_path))
            sock.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: sock.recv(1 << 20), b"")).decode("latin-1")

    def _read_log(self) -> None:
        names = re.compile(rf"(?:\b|')({'|'.join(map(re.escape, self.lines))})(?:/| has no server)")
        while not self.done.is_set():
            try:
                datagram = self.log_socket.recv(65536)
            except TimeoutError:
                continue
            found = names.search(datagram.decode("latin-1"))
            if found:
                self.lines[found[1]].append((masked(datagram), datagram.decode("latin-1")))
            else:
                self.strange.append(datagram.decode("latin-1"))

    def look(self) -> None:
        """Notes the status that every server shows now, where it is another one than before."""
        self.looked_ns = time.monotonic_ns()
        rows = self._stat()
        self.busy = {row["pxname"] for row in rows if "* " in (row["check_status"][:2], row["agent_status"][:2])}
        for row in rows:
            key = (row["pxname"], row["svname"])
            shown = row["check_status"].removeprefix("* ")
            agent = row["agent_status"].removeprefix("* ")
            self.now[key] = row["status"]
            state = " ".join(
                filter(None, [row["status"], shown, agent and f"agent {agent}", f"weight {row['weight']}"])
            )
            seen = self.states[key[0]].setdefault(key[1], [])
            if not seen or seen[-1].text != state:
                seen.append(Seen(state))
            seen[-1].ms = (time.monotonic_ns() - seen[-1].since_ns) // 1_000_000

    def _stat(self) -> list[dict[str, str]]:
        text = self.ask("show stat -1 4 -1").removeprefix("# ")
        return [row for row in csv.DictReader(text.splitlines()) if row.get("pxname") in self.lines]

    def _play(self) -> None:
        assert self.process is not None
        end = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{self.program} does not run:\n{self.output.read_text(errors='replace')[-4000:]}")
            time.sleep(POLL_S)
        stories = {scenario.name: Story(self, scenario) for scenario in self.stage.scenarios}
        end = time.monotonic() + SCENARIO_S
        last = time.monotonic()
        while stories and time.monotonic() < end:
            told = {name: len(lines) for name, lines in self.lines.items()}
            self.look()
            self._note_starts(name for name, story in stories.items() if story.at == 0)
            self.lines_told = told  # a step never acts on a line whose state was not looked at
            now = time.monotonic()
            self.slowest_poll_s, last = max(self.slowest_poll_s, now - last), now
            orders = sum(map(len, self.replies.values()))
            stories = {name: story for name, story in stories.items() if not story.advance()}
            if orders < sum(map(len, self.replies.values())):
                self.look()
            time.sleep(POLL_S)
        self.unfinished = {name: story.told() for name, story in stories.items()}

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return "Uptime" in self.ask("show info")
        return False

    def _collect(self) -> dict[str, Outcome]:
        """Last states are those of servers at rest: a check under way has emptied some of its fields."""
        last: dict[tuple[str, str], dict[str, str]] = {}
        settled: set[tuple[str, str]] = set()
        end = time.monotonic() + SETTLE_S
        while len(settled) < max(len(last), 1) and time.monotonic() < end:
            before, states, after = self._stat(), self._server_states(), self._stat()
            for one, row in zip(before, after, strict=True):
                key = (row["pxname"], row["svname"])
                busy = any(int(states[key][column]) & 1 for column in ("srv_check_state", "srv_agent_state"))
                picked = {column: row[column].removeprefix("* ") for column in STAT_COLUMNS if row[column]}
                if key not in settled:
                    last[key] = picked | {column: states[key][column] for column in STATE_COLUMNS}
                if not busy and "* " not in "".join((*one.values(), *row.values())):
                    settled.add(key)
        for state in last.values():
            for column in ("srv_check_state", "srv_agent_state"):
                state[column] = str(int(state[column]) & ~1)  # bit 0: under way
        by_scenario: dict[str, dict[str, dict[str, str]]] = {name: {} for name in self.lines}
        for (backend, server), state in last.items():
            by_scenario[backend][server] = state
        return {scenario.name: self._outcome(scenario, by_scenario[scenario.name]) for scenario in self.stage.scenarios}

    def _note_starts(self, untouched: Iterable[str]) -> None:
        """When each listener saw its first connection, unless a step has sent it there: noted early, only the last times are kept."""
        for name in untouched:
            for short, listener in self.stage.listeners[name].items():
                key = f"{name}/{short}"
                if key not in self.starts_ns and (times := self.stage.player.times_ns(listener)):
                    self.starts_ns[key] = times[0]

    def starts_ms(self) -> dict[str, int]:
        """The same from the first of all on."""
        begin = min(self.starts_ns.values(), default=0)
        return {name: (at - begin) // 1_000_000 for name, at in self.starts_ns.items()}

    def _server_states(self) -> dict[tuple[str, str], dict[str, str]]:
        """Rows of `show servers state` by backend and server."""
        head, *rows = filter(None, self.ask("show servers state").splitlines()[1:])
        columns = head.removeprefix("# ").split()
        states = [dict(zip(columns, text.split(), strict=False)) for text in rows]
        return {(state["be_name"], state["srv_name"]): state for state in states}

    def _outcome(self, scenario: Scenario, last: dict[str, dict[str, str]]) -> Outcome:
        player, listeners = self.stage.player, self.stage.listeners[scenario.name]
        log = [line for line, _ in self.lines[scenario.name]]
        durations = [int(ms) for _, raw in self.lines[scenario.name] for ms in DURATION.findall(raw)]
        gaps: dict[str, list[int]] = {}
        for name in scenario.gaps:
            times = player.times_ns(listeners[name])
            gaps[name] = [(b - a) // 1_000_000 for a, b in itertools.pairwise(times)]
        return Outcome(
            log=log if scenario.ordered else sorted(log, key=_server_of),
            replies=self.replies[scenario.name],
            # what is seen before the first result depends on when the first look came
            states={
                name: [(seen.text, seen.ms) for seen in states if " INI" not in seen.text]
                for name, states in self.states[scenario.name].items()
            },
            last=last,
            requests={name: self._requests(scenario, name) for name in scenario.requests},
            gaps_ms=gaps,
            durations_ms=durations if scenario.timed else [],
        )

    def _requests(self, scenario: Scenario, name: str) -> list[str]:
        """Distinct requests in the order in which they came, with this side's ports masked."""
        found: list[str] = []
        for back in reversed(range(8)):
            request = self.stage.player.request(self.stage.listeners[scenario.name][name], back)
            if request is None:
                continue
            text = request.decode("latin-1")
            for other, endpoint in self.stage.endpoints[scenario.name].items():
                text = text.replace(f"port={endpoint.port};", f"port={{{other}}};")
            if text not in found:
                found.append(text)
        return found


def _server_of(line: str) -> str:
    found = re.search(r"\S+/(\S+)", line)
    return found[1] if found else ""


class Story:
    """How far one scenario has come on one side."""

    def __init__(self, side: Side, scenario: Scenario) -> None:
        self.side, self.scenario = side, scenario
        self.at = 0
        self.lines_seen = 0
        self.accepts: dict[str, int] = dict.fromkeys(scenario.plays, 0)

    def told(self) -> str:
        """Where it stands, for a failing test."""
        return f"step {self.at} waits for {self.scenario.steps[self.at].until}"

    def advance(self) -> bool:
        """Does every step whose time has come. Returns whether the story is over."""
        while self.at < len(self.scenario.steps) and self._is_due(self.scenario.steps[self.at]):
            self._act(self.scenario.steps[self.at])
            self.at += 1
        return self.at == len(self.scenario.steps)

    def _is_due(self, step: Step) -> bool:
        if not self._holds(step.until):
            return False
        if not (step.cli or step.doors or step.scripts):
            return True
        name = step.until.checks.partition("+")[0]
        if name and self.side.looked_ns <= self._times_ns(name)[-1]:
            self.side.look()
        return self.scenario.name not in self.side.busy and (not name or self._is_fresh(name))

    def _times_ns(self, name: str) -> list[int]:
        return self.side.stage.player.times_ns(self.side.stage.listeners[self.scenario.name][name])

    def _counts(self, name: str) -> int:
        return self.side.stage.player.counts(self.side.stage.listeners[self.scenario.name][name]).accepts

    def _is_fresh(self, name: str) -> bool:
        """Whether the last connection came just now: so a step that acts has time until the next check."""
        times = self._times_ns(name)
        return bool(times) and time.monotonic_ns() - times[-1] < FRESH_NS

    def _holds(self, until: Until) -> bool:
        if until.log:
            new = self.side.lines[self.scenario.name][self.lines_seen : self.side.lines_told[self.scenario.name]]
            if not any(re.search(until.log, line) for line, _ in new):
                return False
        if until.status:
            server, _, wanted = until.status.partition("=")
            if not re.fullmatch(wanted, self.side.now.get((self.scenario.name, server), "")):
                return False
        if until.checks:
            name, _, count = until.checks.partition("+")
            return self._counts(name) >= self.accepts[name] + int(count) and self._is_fresh(name)
        return True

    def _act(self, step: Step) -> None:
        stage = self.side.stage
        self.lines_seen = self.side.lines_told[self.scenario.name]
        self.accepts = {name: self._counts(name) for name in self.scenario.plays}
        listeners = stage.listeners[self.scenario.name]
        for name, door in step.doors.items():
            if door is not Door.OPEN:
                stage.player.door(listeners[name], door)
        for name, acts in step.scripts.items():
            stage.player.script(listeners[name], *acts)
        for name, door in step.doors.items():
            if door is Door.OPEN:  # behind its script, so that nobody hears the old one once more
                stage.player.door(listeners[name], door)
        for command in step.cli:
            name = self.scenario.name
            reply = self.side.ask(command.format(b=name, **stage.endpoints[name]))
            self.side.replies[name].append(f"{command}: {self._masked(reply)!r}")

    def _masked(self, reply: str) -> str:
        """A reply without what differs from run to run: module columns, ids of backends, ages, ports of this side."""
        reply = STATE_AGE.sub(r"# \1 #", MODULE_COLUMNS.sub(",-,", reply))
        reply = CONN_ID.sub(r"\1 #/", reply)
        for name, endpoint in self.side.stage.endpoints[self.scenario.name].items():
            if endpoint.port:
                reply = re.sub(rf"\b{endpoint.port}\b", f"{{{name}.port}}", reply)
        return reply


def run_sides(programs: Sequence[str], scenarios: Sequence[Scenario], folder: Path) -> dict[str, Side | Exception]:
    """Runs the programs at the same time, each on its own stage.

    Returns: the sides with their outcomes, or why one did not run.
    """
    found: dict[str, Side | Exception] = {}
    with Player(listeners=2048, connections=8192) as player:
        sides = {
            program: Side(program, Stage(player, scenarios, _made(folder / program)), folder) for program in programs
        }

        def one(program: str) -> None:
            try:
                sides[program].outcomes = sides[program].run()
                found[program] = sides[program]
            except (AssertionError, OSError, ValueError, KeyError) as error:
                found[program] = error

        threads = [threading.Thread(target=one, args=(program,)) for program in programs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
