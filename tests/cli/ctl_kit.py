"""A peer for `risefall ctl`: risefall or the real haproxy, on one configuration with played backends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from click.testing import CliRunner, Result

from haproxy_kit import haproxy_path, want_haproxy
from risefall.cli.main import group
from risefall.errors import PeerLost
from risefall.surfaces.client import Client
from risefall.surfaces.peer import State, read_servers

DEADLINE_S = 20.0
POLL_S = 0.02
CONFIG = """
global
  stats socket {folder}/admin.sock mode 600 level admin
  stats socket {folder}/user.sock mode 600 level user
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
backend app
  option httpchk
  server ap01 127.0.0.1:{up} check inter 50ms weight 100
  server ap02 127.0.0.1:{up} check inter 50ms weight 100
  server dead 127.0.0.1:{down} check inter 50ms
backend web
  server w1 127.0.0.1:{up}
backend long
  mode tcp
  server t1 127.0.0.1:{up}
frontend in
  mode tcp
  bind unix@{folder}/in.sock
  default_backend long
"""


class Peer(msgspec.Struct, frozen=True):
    """A program that answers on a socket. name: `risefall` or `haproxy`."""

    name: str
    folder: Path

    @property
    def socket(self) -> str:
        return str(self.folder / "admin.sock")

    def ctl(self, *arguments: str, stdin: str = "", env: dict[str, str | None] | None = None) -> Result:
        """`risefall ctl --socket ...` with these arguments."""
        return ctl("--socket", self.socket, *arguments, stdin=stdin, env=env)

    def states(self) -> dict[str, State]:
        """Every server's state."""
        return {row.name: row.state for row in read_servers(Client(self.socket))}

    def weight(self, name: str) -> str:
        """What `get weight` says."""
        return Client(self.socket).ask(f"get weight {name}").text.strip()

    def until(self, condition: Callable[[dict[str, State]], bool]) -> None:
        """Waits for states; fails where they do not come."""
        wait_until(lambda: condition(self.states()), f"{self.name}: other states than {self.states()}")


def ctl(*arguments: str, stdin: str = "", env: dict[str, str | None] | None = None) -> Result:
    """`risefall ctl ...` in this process: exit code, stdout, stderr."""
    return CliRunner().invoke(group, ["ctl", *arguments], prog_name="risefall", input=stdin, env=env)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for an observed condition."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_S)


@contextlib.contextmanager
def running(name: str, folder: Path, *, up: int, down: int) -> Iterator[Peer]:
    """A peer from the moment that it answers and has checked every server."""
    if name == "haproxy":
        want_haproxy()
    path = folder / "t.cfg"
    path.write_text(CONFIG.format(folder=folder, up=up, down=down))
    peer = Peer(name, folder)
    commands = {
        "haproxy": [haproxy_path(), "-db", "-f", str(path)],
        "risefall": [sys.executable, "-m", "risefall", "run", "-f", str(path), "--as", "2.6", "--socket", peer.socket],
    }
    process = subprocess.Popen(
        commands[name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RISEFALL_SOCKET": ""},
    )
    try:
        wait_until(lambda: answers(peer), f"{name} does not answer")
        yield peer
    finally:
        process.kill()
        process.wait()


def answers(peer: Peer) -> bool:
    """Whether it answers, and each check has said what it will."""
    with contextlib.suppress(PeerLost):
        states = peer.states()
        return states["app/ap01"] is State.UP and states["app/ap02"] is State.UP and states["app/dead"] is State.DOWN
    return False
