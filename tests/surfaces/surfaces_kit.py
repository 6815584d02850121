"""A fleet by hand, the configuration that would make it, and a haproxy that runs it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from risefall.config.haproxy.dialect import DIALECTS
from risefall.state import growth
from risefall.state.commands import Refused
from risefall.state.fleet import Effects, Fleet
from risefall.state.server import AGENT, HEALTH, Admin, CheckState, Op, ProxyState, ServerState
from risefall.status import Status, Verdict
from risefall.surfaces.calls import Level
from risefall.surfaces.resolvers import Tally

NOW_MS = 1_000_000
CHANGED_MS = NOW_MS - 42_500

CONFIG = """\
global
  stats socket {socket} mode 600 level admin
  stats socket {socket}.user mode 600 level user
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend fe
  bind 127.0.0.1:{port}
  default_backend b1
listen li
  mode tcp
  bind 127.0.0.1:{port2}
  server l1 127.0.0.1:1 check inter 100 fall 1 agent-check agent-port 1 agent-inter 100
backend b1
  balance leastconn
  cookie SRV insert
  server s1 127.0.0.1:1 check inter 100 fall 1 cookie one maxconn 10 maxqueue 4
  server s2 127.0.0.1:2 weight 5 backup
  server s3 127.0.0.1:3 track s1
  server s4 127.0.0.1:4 disabled check
  server s5 [::1]:4 weight 7
  server s6 [::1] id 20
  server s7 foo.invalid:80 check init-addr none
  server s8 127.0.0.1:8 track s4
backend st
  id 77
  balance source
  server s1 127.0.0.1:1 weight 3
backend em
backend dis
  disabled
  server s1 127.0.0.1:1
"""
"""What `small_fleet` is, for a real haproxy to run."""


class FakeRecord(msgspec.Struct, frozen=True):
    """What the engine would hold of one check."""

    status: Status = Status.L4CON
    verdict: Verdict = Verdict.FAILED
    code: int = 0
    duration_ms: int = 0
    text: bytes = b"Connection refused"
    health: int = 0
    fails: int = 1
    runs: int = 1
    in_progress: bool = False
    epoch: int = 0


Records = dict[tuple[int, int], FakeRecord]


def proxy(name: str, kind: str, number: int, first: int, count: int, **settings: Any) -> ProxyState:
    given: dict[str, Any] = {
        "mode": "http", "balance": "roundrobin", "log_health_checks": False, "disabled": False, "static": False,
        "changed_ms": CHANGED_MS,
    } | settings  # fmt: skip
    return ProxyState(name=name, kind=kind, id=number, first=first, count=count, **given)


def server(name: str, owner: int, sid: int, address: str, port: int, **settings: Any) -> ServerState:
    given: dict[str, Any] = {
        "fqdn": "", "op": Op.RUNNING, "admin": Admin(0), "backup": False, "health": None, "agent": None,
        "changed_ms": CHANGED_MS,
    } | settings  # fmt: skip
    weight = given.pop("weight", 1)
    return ServerState(
        name=name, proxy=owner, sid=sid, address=address, port=port, iweight=weight, uweight=weight, **given
    )


def small_fleet(dialect: str = "2.6") -> tuple[Fleet, Records]:
    """CONFIG once every check has failed, and what the engine says of it."""
    proxies = [
        proxy("fe", "frontend", 2, 0, 0),
        proxy("li", "listen", 3, 0, 1, mode="tcp", downs=1),
        proxy("b1", "backend", 4, 1, 8, balance="leastconn", cookie="SRV"),
        proxy("st", "backend", 77, 9, 1, balance="source", static=True, forced_id=True),
        proxy("em", "backend", 6, 10, 0),
        proxy("dis", "backend", 7, 10, 1, disabled=True),
    ]
    down = {"op": Op.STOPPED, "downs": 1}
    servers = [
        server("l1", 1, 1, "127.0.0.1", 1, health=CheckState(2, 1, 0), agent=CheckState(1, 1, 1), agent_port=1, **down),
        server(
            "s1", 2, 1, "127.0.0.1", 1,
            health=CheckState(2, 1, 0), cookie="one", maxconn=10, maxqueue=4, trackers=(3,), **down,
        ),
        server("s2", 2, 2, "127.0.0.1", 2, weight=5, backup=True),
        server("s3", 2, 3, "127.0.0.1", 3, tracks=1, **down),
        server(
            "s4", 2, 4, "127.0.0.1", 4,
            health=CheckState(2, 3, 0), trackers=(8,), op=Op.STOPPED, admin=Admin.FMAINT | Admin.CMAINT,
        ),
        server("s5", 2, 5, "::1", 4, weight=7),
        server("s6", 2, 20, "::1", 0, forced_id=True, mapped_ports=True),
        server(
            "s7", 2, 7, "", 80, fqdn="foo.invalid", health=CheckState(2, 3, 0), admin=Admin.RMAINT, **down
        ),
        server("s8", 2, 8, "127.0.0.1", 8, tracks=4, idle_health=0),
        server("s1", 3, 1, "127.0.0.1", 1, weight=3),
        server("s1", 5, 0, "127.0.0.1", 1),
    ]  # fmt: skip
    records = {
        (0, HEALTH): FakeRecord(),
        (0, AGENT): FakeRecord(health=1),
        (1, HEALTH): FakeRecord(),
        (4, HEALTH): FakeRecord(status=Status.INI, verdict=Verdict.UNKNOWN, text=b"", fails=0, duration_ms=-1),
        (7, HEALTH): FakeRecord(status=Status.INI, verdict=Verdict.UNKNOWN, text=b"", fails=0, duration_ms=-1),
    }
    return Fleet(proxies, servers, DIALECTS[dialect], NOW_MS), records


class FakeApi:
    """A daemon without checks: what commands led to is kept for the test to look at."""

    def __init__(self, dialect: str = "2.6") -> None:
        self.fleet, self.records = small_fleet(dialect)
        self.applied: list[Effects] = []

    def record(self, index: int, which: int) -> FakeRecord | None:
        return self.records.get((index, which))

    def apply(self, effects: Effects) -> None:
        self.applied.append(effects)

    def info(self) -> Mapping[str, str | int]:
        return {"Version": "2.6.12", "Pid": 4711, "Uptime_sec": 90061}

    async def reload(self) -> str:
        return "3 servers as before"

    def resolvers(self) -> list[Tally]:
        return [Tally("r", {"ns1": Counter(sent=3, valid=2)}), Tally("empty")]

    def now_ms(self) -> int:
        return NOW_MS

    def add_server(self, place: int, name: str, words: Sequence[str]) -> None:
        raise Refused(f"{place} {name} {' '.join(words)}")

    def rename(self, index: int, name: str) -> str:
        raise Refused("set server <b>/<s> fqdn failed because no resolution is configured.")

    def set_name(self, index: int, name: str) -> None:
        growth.set_name(self.fleet, index, name)

    def del_server(self, index: int) -> None:
        growth.remove_server(self.fleet, index)

    def vrrp(self) -> list[dict[str, object]]:
        return []

    def sockets(self) -> Sequence[tuple[str, Level]]:
        return [("/run/risefall/run.sock", Level.ADMIN)]


# --- a real haproxy -------------------------------------------------------------------------------


def ask(path: str, commands: bytes) -> bytes:
    """Everything that a runtime API answers to some bytes, until it or we have closed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(commands)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer


def ask_at_rest(path: str, command: str, busy: Callable[[str], bool]) -> str:
    """The same as text, asked again while a check is under way: its row says less then."""
    answer = ""

    def asked() -> bool:
        nonlocal answer
        answer = ask(path, f"{command}\n".encode()).decode()
        return not busy(answer)

    wait_until(asked)
    return answer


@contextmanager
def haproxy(folder: Path, ports: tuple[int, int]) -> Iterator[str]:
    """Runs CONFIG; gives the path of its socket once the first checks are done."""
    path = str(folder / "haproxy.sock")
    config = folder / "haproxy.cfg"
    config.write_text(CONFIG.format(socket=path, port=ports[0], port2=ports[1]))
    with (folder / "haproxy.out").open("wb") as out:
        process = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stdout=out, stderr=out)
    try:
        wait_until(lambda: process.poll() is not None or Path(path).exists())
        assert process.poll() is None, (folder / "haproxy.out").read_text()
        wait_until(lambda: _checked(path, "li 4 1") and _checked(path, "b1 4 1"))
        yield path
    finally:
        process.kill()
        process.wait()


def _checked(path: str, query: str) -> bool:
    """Whether no check of a server waits for its first result."""
    return b",INI," not in ask(path, f"show stat {query}\n".encode()).replace(b"* ", b"")


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Asks again and again; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
