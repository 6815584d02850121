"""Names at run time: haproxy 2.6 and risefall beside each other, each with a name server of its own that says the same.

The story runs for some fifteen seconds, both programs at once. A step changes the zone and ends when the servers are as
it says; then their states are noted. What is compared: states after each step, and all lines, backend by backend.
"""

from __future__ import annotations

import contextlib
import csv
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from haproxy_kit import want_haproxy
from names_kit import NameServer

DEADLINE_S = 12.0
POLL_S = 0.03
COLUMNS = (
    "srv_addr", "srv_op_state", "srv_admin_state", "srv_uweight", "srv_iweight", "srv_check_health", "srv_check_state",
    "srv_agent_state", "srv_fqdn", "srv_port", "srvrecord",
)  # fmt: skip
CONFIG = """\
global
  stats socket {socket} level admin
  log 127.0.0.1:{log_port} local0
defaults
  timeout connect 1s
  timeout server 1s
  timeout client 1s
  log global
resolvers r
  nameserver ns1 127.0.0.1:{port}
  resolve_retries 1
  timeout resolve 300ms
  timeout retry 150ms
  hold nx 500ms
  hold refused 500ms
  hold other 500ms
  hold timeout 500ms
resolvers keeps
  nameserver ns1 127.0.0.1:{port}
  timeout resolve 300ms
  timeout retry 100ms
  hold obsolete 1h
  hold nx 1h
backend plain
  server s web.test:80 resolvers r init-addr none
  server d web.test:80 resolvers r init-addr none
  server u web.test:80 resolvers r init-addr none weight 0
backend many
  server-template m 12 many.test:80 resolvers r init-addr none resolve-prefer ipv4
backend dup
  server-template d 2 one.test:80 resolvers r init-addr none resolve-opts allow-dup-ip
backend nodup
  server-template d 2 one.test:80 resolvers r init-addr none
backend family
  server six both.test:80 resolvers r init-addr none
  server four both.test:80 resolvers r init-addr none resolve-prefer ipv4
  server net many.test:80 resolvers r init-addr none resolve-net 127.1.4.0/24
backend start
  server s start.test:80 resolvers r init-addr 127.0.0.9
  server k start.test:80 resolvers keeps init-addr 127.0.0.9
backend checked
  server c chk.test:{check_port} resolvers r init-addr none check inter 100ms rise 1 fall 1
backend tracked
  server t 127.0.0.1:80 track checked/c
backend tmpl
  server-template t 3 _h._tcp.web.test resolvers r
backend flat
  server-template t 2 _h._tcp.web.test resolvers r resolve-opts ignore-weight
backend hosts
  server-template h 12 _many._tcp.test resolvers r
"""
BACKENDS = tuple(re.findall(r"^backend (\S+)", CONFIG, re.MULTILINE))
SEVERAL_NAMES = ("family", "tmpl", "flat")
SRV = ("_h._tcp.web.test", "SRV")

States = dict[str, dict[str, str]]


class Step(msgspec.Struct, frozen=True):
    """A change of the zone, and the addresses that end the step (`-` for none)."""

    name: str
    change: Callable[[NameServer], None]
    until: dict[str, str]


def put(**zone: list[str]) -> Callable[[NameServer], None]:
    """Sets records by name and type, `web_A` for A of web.test; an empty list takes them away."""

    def change(server: NameServer) -> None:
        for key, records in zone.items():
            name, _, kind = key.rpartition("_")
            at = SRV if name == "srv" else (f"{name}.test", kind)
            server.zone.pop(at, None)
            if records:
                server.zone[at] = records

    return change


def says(rcode: str) -> Callable[[NameServer], None]:
    def change(server: NameServer) -> None:
        server.rcodes = {"web.test": rcode} if rcode else {}
        server.silent.clear()

    return change


def begin(server: NameServer) -> None:
    """What the names have from the first question on."""
    server.zone = {
        ("many.test", "A"): [f"127.1.{number}.{number * 7}" for number in range(1, 13)],
        ("one.test", "A"): ["127.0.0.1"],
        ("both.test", "A"): ["127.0.0.77"],
        ("both.test", "AAAA"): ["::1"],
        ("_many._tcp.test", "SRV"): [f"0 1 {80 + number} h{number}.test." for number in range(12)],
        ("h3.test", "A"): ["127.0.3.3"],
    }


def silence(server: NameServer) -> None:
    server.silent.add("web.test")


def additional(server: NameServer) -> None:
    server.zone[SRV] = ["0 2560 84 d.test.", "0 256 83 c.test."]
    server.extra[SRV[0]] = [("d.test", "A", "127.0.2.1")]


def other_additional(server: NameServer) -> None:
    server.extra[SRV[0]] = [("d.test", "A", "127.0.2.2")]


GONE = {"plain/s": "-", "plain/d": "-", "plain/u": "-"}
STEPS = [
    Step("start", lambda server: None, {"many/m12": "127.1.1.7", "hosts/h4": "127.0.3.3", "start/s": "-"}),
    Step("two addresses", put(web_A=["127.0.0.1", "127.0.0.3"]), {"plain/s": "127.0.0.1", "plain/d": "127.0.0.3"}),
    Step("one changed", put(web_A=["127.0.0.2", "127.0.0.1"]), {"plain/s": "127.0.0.1", "plain/d": "127.0.0.2"}),
    Step("one left", put(web_A=["127.0.0.2"]), {"plain/s": "-", "plain/d": "127.0.0.2"}),
    Step("NXDOMAIN", put(web_A=[]), GONE),
    Step("back", put(web_A=["127.0.0.2", "127.0.0.1", "127.0.0.4"]), {"plain/u": "127.0.0.4"}),
    Step("refused", says("REFUSED"), GONE),
    Step("after refused", says(""), {"plain/u": "127.0.0.4"}),
    Step("server failure", says("SERVFAIL"), GONE),
    Step("after failure", says(""), {"plain/u": "127.0.0.4"}),
    Step("silent", silence, GONE),
    Step("after silence", says(""), {"plain/u": "127.0.0.4"}),
    Step("checked", put(chk_A=["127.0.0.2"]), {"checked/c": "127.0.0.2"}),
    Step("checked moves", put(chk_A=["127.0.0.3"]), {"checked/c": "127.0.0.3", "checked/c op": "0"}),
    Step("checked comes back", put(chk_A=["127.0.0.2"]), {"checked/c": "127.0.0.2", "checked/c op": "2"}),
    Step("checked goes", put(chk_A=[]), {"checked/c": "-"}),
    Step(
        "SRV of two",
        put(srv_SRV=["0 512 81 a.test.", "0 10 82 b.test."], a_A=["127.0.1.1"], b_A=["127.0.1.2"]),
        {"tmpl/t1": "127.0.1.1", "tmpl/t2": "127.0.1.2", "flat/t2": "127.0.1.2"},
    ),
    Step(
        "SRV of three",
        put(srv_SRV=["0 512 81 a.test.", "0 10 82 b.test.", "0 65535 83 c.test."], c_A=["127.0.1.3"]),
        {"tmpl/t3": "127.0.1.3"},
    ),
    Step("a target moves", put(a_A=["127.0.1.9"]), {"tmpl/t1": "127.0.1.9", "flat/t1": "127.0.1.9"}),
    Step("SRV of one", put(srv_SRV=["0 2560 83 c.test."]), {"tmpl/t1": "-", "tmpl/t2": "-", "flat/t1": "127.0.1.3"}),
    Step("additional record", additional, {"tmpl/t1": "127.0.2.1"}),
    Step("additional record changes", other_additional, {"tmpl/t1": "127.0.2.2"}),
    Step("SRV gone", put(srv_SRV=[]), {"tmpl/t1": "-", "tmpl/t3": "-"}),
]


class Side:
    """One program, its name server, what it logs and how its servers stood after each step."""

    def __init__(self, program: str, folder: Path, check_port: int) -> None:
        self.program = program
        self.socket_path = str(folder / f"{program}.sock")
        self.config_path = folder / f"{program}.cfg"
        self.output_path = folder / f"{program}.out"
        self.check_port = check_port
        self.logs: dict[str, list[str]] = {name: [] for name in BACKENDS}
        self.strange: list[str] = []
        self.states: dict[str, States] = {}
        self.stuck = ""
        self.resolvers: list[str] = []

    @property
    def argv(self) -> list[str]:
        if self.program == "haproxy":
            return ["haproxy", "-db", "-f", str(self.config_path)]
        return [sys.executable, "-m", "risefall", "run", "-f", str(self.config_path), "--as", "2.6", "--log", "config"]

    def run(self, steps: list[Step]) -> None:
        """The whole story."""
        with NameServer() as names, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
            begin(names)
            log.bind(("127.0.0.1", 0))
            log.settimeout(0.1)
            self.config_path.write_text(
                CONFIG.format(
                    socket=self.socket_path,
                    log_port=log.getsockname()[1],
                    port=names.port,
                    check_port=self.check_port,
                )
            )
            done = threading.Event()
            reader = threading.Thread(target=self._read_log, args=(log, done))
            reader.start()
            try:
                self._play(names, steps)
            finally:
                done.set()
                reader.join()

    def _play(self, names: NameServer, steps: list[Step]) -> None:
        environment = {"RISEFALL_SOCKET": self.socket_path, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        environment["RISEFALL_STATE_DIR"] = "none"
        environment["PYTHONPATH"] = str(Path(__file__).parents[2] / "src")
        with (
            self.output_path.open("w") as output,
            subprocess.Popen(self.argv, stdout=output, stderr=subprocess.STDOUT, env=environment) as process,
        ):
            try:
                for step in steps:
                    step.change(names)
                    if not self._reach(step, process):
                        return
                self.resolvers = [self._command(f"show resolvers{which}") for which in (" r", " keeps", " none")]
            finally:
                process.terminate()
                process.wait(10)

    def _reach(self, step: Step, process: subprocess.Popen[bytes]) -> bool:
        """Waits until the servers are as the step says, and notes them."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):
                states = self._look()
                short = {name: state["srv_addr"] for name, state in states.items()}
                short |= {f"{name} op": state["srv_op_state"] for name, state in states.items()}
                if step.until.items() <= short.items():
                    self.states[step.name] = states
                    return True
            time.sleep(POLL_S)
        self.stuck = f"{step.name}: {self.output_path.read_text()[-3000:]}"
        return False

    def _look(self) -> States:
        head, *rows = filter(None, self._command("show servers state").splitlines()[1:])
        columns = head.removeprefix("# ").split()
        states: States = {}
        for row in rows:
            found = dict(zip(columns, row.split(), strict=True))
            states[f"{found['be_name']}/{found['srv_name']}"] = {column: found[column] for column in COLUMNS}
        text = self._command("show stat -1 4 -1").removeprefix("# ")
        for stat in csv.DictReader(text.splitlines()):
            name = f"{stat['pxname']}/{stat['svname']}"
            if name in states:
                states[name] |= {column: stat[column] or "" for column in ("status", "weight", "chkdown")}
        for state in states.values():
            state["srv_check_state"] = str(int(state["srv_check_state"]) & ~1)  # bit 0: under way
        return states

    def _command(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(self.socket_path)
            client.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    def _read_log(self, log: socket.socket, done: threading.Event) -> None:
        names = re.compile(rf"(?:\b|')({'|'.join(BACKENDS)})(?:/| has no server)")
        while not done.is_set():
            try:
                text = log.recv(65536).decode()
            except TimeoutError:
                continue
            level = int(re.match(r"<(\d+)>", text)[1]) & 7  # type: ignore[index]
            told = re.sub(r"check duration: \d+ms", "check duration: *", text.split(": ", 1)[1].strip())
            found = names.search(told)
            if found:
                self.logs[found[1]].append(f"{level} {told}")
            else:
                self.strange.append(told)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Side]:
    """Both programs after the story."""
    want_haproxy()
    folder = tmp_path_factory.mktemp("names")
    with socket.create_server(("127.0.0.2", 0), backlog=128) as listener:
        done = threading.Event()
        listener.settimeout(0.1)
        acceptor = threading.Thread(target=accept_all, args=(listener, done))
        acceptor.start()
        found = {name: Side(name, folder, listener.getsockname()[1]) for name in ("haproxy", "risefall")}
        threads = [threading.Thread(target=side.run, args=(STEPS,)) for side in found.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        acceptor.join()
    return found


def accept_all(listener: socket.socket, done: threading.Event) -> None:
    """Takes every connection, and lets it go."""
    while not done.is_set():
        with contextlib.suppress(TimeoutError):
            listener.accept()[0].close()


@pytest.mark.parametrize("program", ["haproxy", "risefall"])
def test_the_story_ends(sides: dict[str, Side], program: str) -> None:
    """Every step comes about."""
    assert not sides[program].stuck


@pytest.mark.parametrize("step", [step.name for step in STEPS])
def test_servers_are_the_same(sides: dict[str, Side], step: str) -> None:
    """Address, port, name, SRV name, weights and status of every server."""
    assert sides["risefall"].states[step] == sides["haproxy"].states[step]


@pytest.mark.parametrize("backend", BACKENDS)
def test_lines_are_the_same(sides: dict[str, Side], backend: str) -> None:
    """Every line of every backend, with its level, in order; of several names, the answers may come in any order."""
    ours, theirs = sides["risefall"].logs[backend], sides["haproxy"].logs[backend]
    if backend in SEVERAL_NAMES:
        ours, theirs = sorted(ours, key=server_of), sorted(theirs, key=server_of)
    assert ours == theirs


def server_of(line: str) -> str:
    """`t1` of a line about it; the order of its own lines stays."""
    found = re.search(r"/(\w+)", line)
    return found[1] if found else ""


def test_counters_are_shown_alike(sides: dict[str, Side]) -> None:
    """`show resolvers`. How often each has asked is a matter of time; what has never happened is not, late answers aside."""

    def masked(text: str) -> str:
        return re.sub(r"[1-9]\d*", "#", re.sub(r"outdated: +\d+", "outdated: #", text))

    ours, theirs = (list(map(masked, sides[name].resolvers)) for name in ("risefall", "haproxy"))
    assert ours == theirs
