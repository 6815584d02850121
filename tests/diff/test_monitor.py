"""`monitor-uri`, `monitor fail` and stats sockets, served by haproxy 2.6 and by risefall: the same bytes in every state."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from haproxy_kit import needs_haproxy
from risefall.errors import PeerLost
from risefall.surfaces.client import Client

DEADLINE_S = 20.0
pytestmark = needs_haproxy

CONFIG = """
global
  stats socket {folder}/admin.sock mode 600 level admin
  stats socket {folder}/user.sock mode 640 level user
  stats socket {folder}/operator.sock severity-output number
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
  monitor-uri /mon
frontend plain
  bind 127.0.0.1:{p0}
  acl low nbsrv(b) lt 2
  monitor fail if low
  default_backend b
frontend uri
  bind 127.0.0.1:{p1}
  monitor-uri http://x/mon
  monitor fail unless {{ srv_is_up(b/s1) }} or {{ srv_is_up(b/s2) }}
  default_backend b
frontend files
  bind 127.0.0.1:{p2}
  errorfile 503 {folder}/503.http
  errorfile 200 {folder}/200.http
  acl dead nbsrv(b) eq 0
  acl few nbsrv(b) 1:1
  monitor fail if dead
  monitor fail if few !{{ src 10.0.0.0/8 }}
  default_backend b
frontend slots
  bind 127.0.0.1:{p3}
  monitor fail if {{ connslots(b) lt 30 }} || {{ be_conn_free(b) lt 10 }}
  monitor fail if {{ avg_queue(b) gt 0 }}
  default_backend b
frontend weights
  bind 127.0.0.1:{p4}
  monitor fail if {{ srv_weight(b/s1) lt 5 }} !FALSE
  default_backend b
frontend backups
  bind 127.0.0.1:{p5}
  monitor fail unless {{ nbsrv(c) ge 1 }} {{ method GET HEAD }}
  default_backend b
backend b
  server s1 127.0.0.1:1 maxconn 10 maxqueue 10 weight 10
  server s2 127.0.0.1:1 maxconn 10 maxqueue 10
backend c
  server a 127.0.0.1:1
  server b1 127.0.0.1:1 backup
  server b2 127.0.0.1:1 backup
"""
PORTS = 6
FILES = {
    "503.http": b"HTTP/1.0 503 Nope\r\nContent-Type: text/plain\r\nX-Y: z\r\n\r\nnope\n",
    "200.http": b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfine\n",
}
REQUESTS = {
    "plain": b"GET /mon HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET /mon HTTP/1.1\r\n\r\n",
    "1.0": b"GET /mon HTTP/1.0\r\n\r\n",
    "1.0 kept": b"GET /mon HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "head": b"HEAD /mon HTTP/1.1\r\nHost: a\r\n\r\n",
    "post": b"POST /mon HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "half a post": b"POST /mon HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
    "chunked": b"POST /mon HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "close": b"GET /mon HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "two": b"GET /mon HTTP/1.1\r\nHost: a\r\n\r\nHEAD /mon HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "absolute": b"GET http://x/mon HTTP/1.1\r\nHost: x\r\n\r\n",
    "line feeds": b"GET /mon HTTP/1.1\nHost: a\n\n",
    "empty line first": b"\r\nGET /mon HTTP/1.1\r\nHost: a\r\n\r\n",
    "0.9": b"GET /mon\r\n",
    "nonsense": b"nonsense\r\n\r\n",
    "bad header": b"GET /mon HTTP/1.1\r\nbad header\r\n\r\n",
}
ELSEWHERE = {
    "query": b"GET /mon?x HTTP/1.1\r\nHost: a\r\n\r\n",
    "case": b"GET /MON HTTP/1.1\r\nHost: a\r\n\r\n",
    "other": b"GET / HTTP/1.0\r\n\r\n",
}
STATES = {
    "all up": (),
    "one in maintenance": ("set server b/s1 state maint",),
    "one drained": ("set server b/s2 state drain",),
    "none": ("set server b/s1 state maint", "set server b/s2 state maint"),
    "weights": ("set weight b/s1 1",),
    "down": ("set server b/s1 health down", "set server b/s2 health down"),
    "on backups": ("set server c/a state maint",),
    "on the last": ("set server c/a state maint", "set server c/b1 state maint", "set server c/b2 state maint"),
}


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in made]


class Side:
    """One program on the configuration."""

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir()
        for file, data in FILES.items():
            (folder / file).write_bytes(data)
        self.folder = folder
        self.ports = free_ports(PORTS)
        numbers = {f"p{at}": port for at, port in enumerate(self.ports)}
        (folder / "c.cfg").write_text(CONFIG.format(folder=folder, **numbers))
        command = {
            "haproxy": ["haproxy", "-db", "-f", str(folder / "c.cfg")],
            "risefall": [
                sys.executable, "-m", "risefall", "run", "--as", "2.6", "-f", str(folder / "c.cfg"), "--serve", "config",
                "--socket", str(folder / "own.sock"), "--log", "none",
            ],
        }[name]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_S
        while not self.answers():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def answers(self) -> bool:
        with contextlib.suppress(PeerLost, OSError):
            self.say("show info")
            socket.create_connection(("127.0.0.1", self.ports[-1]), 1).close()
            return True
        return False

    def say(self, command: str, name: str = "admin") -> str:
        return Client(str(self.folder / f"{name}.sock")).ask(command).text

    def ask(self, at: int, request: bytes) -> tuple[bytes, bool]:
        """What is answered until the peer ends, or has said all of an answer and keeps the connection; and whether it ends.

        One more request behind shows that it is kept.
        """
        with socket.create_connection(("127.0.0.1", self.ports[at]), DEADLINE_S) as client:
            client.sendall(request)
            heard = b""
            while True:
                data = client.recv(65536)
                heard += data
                if not data:
                    return heard, True
                alone = request.count(b" HTTP/1.") == 1
                if (
                    alone
                    and complete(heard, request)
                    and b"connection: close" not in heard
                    and not heard.startswith(b"HTTP/1.0")
                ):
                    client.sendall(LAST)
                    rest = b"".join(iter(lambda: client.recv(65536), b""))
                    return heard + b" | " + rest, False


LAST = b"HEAD http://x/mon HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def complete(heard: bytes, request: bytes) -> bool:
    head, end, body = heard.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), -1)
    return bool(end) and (request.startswith(b"HEAD") or len(body) >= length >= 0)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Side]]:
    folder = tmp_path_factory.mktemp("monitor")
    made: dict[str, Side] = {}
    try:
        for name in ("haproxy", "risefall"):
            made[name] = Side(name, folder / name)
        yield made
    finally:
        for side in made.values():
            side.process.terminate()
            side.process.wait(10)


@pytest.mark.parametrize("state", STATES)
def test_every_frontend_in_every_state(sides: dict[str, Side], state: str) -> None:
    for side in sides.values():
        for command in STATES[state]:
            side.say(command)
    try:
        for at in range(PORTS):
            for name in ("plain", "1.0", "head", "absolute"):
                if at == 1 and name != "absolute":
                    continue  # no monitor-uri there: haproxy would try its servers
                both = {who: side.ask(at, REQUESTS[name]) for who, side in sides.items()}
                assert both["risefall"] == both["haproxy"], (at, name)
    finally:
        for side in sides.values():
            for server in ("b/s1", "b/s2", "c/a", "c/b1", "c/b2"):
                side.say(f"set server {server} state ready")
                side.say(f"set server {server} health up")
            side.say("set weight b/s1 100%")


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("at", [0, 2])
def test_every_request(sides: dict[str, Side], name: str, at: int) -> None:
    both = {who: side.ask(at, REQUESTS[name]) for who, side in sides.items()}
    assert both["risefall"] == both["haproxy"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_not_asked_of_the_monitor(sides: dict[str, Side], name: str) -> None:
    """With no server, haproxy says 503 at once; risefall always does, since it moves no traffic."""
    for side in sides.values():
        side.say("set server b/s1 state maint")
        side.say("set server b/s2 state maint")
    try:
        both = {who: side.ask(0, ELSEWHERE[name]) for who, side in sides.items()}
        assert both["risefall"][0].startswith(b"HTTP/1.1 503")
        assert both["risefall"] == both["haproxy"]
    finally:
        for side in sides.values():
            side.say("set server b/s1 state ready")
            side.say("set server b/s2 state ready")


def test_a_silent_client(sides: dict[str, Side]) -> None:
    for text in (b"", b"GET /mon HT"):
        both = {}
        for who, side in sides.items():
            with socket.create_connection(("127.0.0.1", side.ports[0]), DEADLINE_S) as client:
                client.sendall(text)
                both[who] = b"".join(iter(lambda: client.recv(65536), b""))
        assert both["risefall"] == both["haproxy"]
        assert both["haproxy"].startswith(b"HTTP/1.1 408")


def test_stats_sockets_have_their_mode_and_level(sides: dict[str, Side]) -> None:
    for name in ("admin", "user", "operator"):
        modes = {who: os.stat(side.folder / f"{name}.sock").st_mode for who, side in sides.items()}
        assert modes["risefall"] == modes["haproxy"], name
        for command in ("show cli level", "set weight b/s1 100%", "enable server b/s1"):
            both = {who: side.say(command, name) for who, side in sides.items()}
            assert both["risefall"] == both["haproxy"], (name, command)


def raw(path: Path, command: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        client.sendall(command)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_severity_is_shown_where_it_is_asked_for(sides: dict[str, Side]) -> None:
    both = {who: raw(side.folder / "operator.sock", b"set weight b/x 1\n") for who, side in sides.items()}
    assert both["risefall"] == both["haproxy"]
    assert both["haproxy"].startswith(b"[3]")
