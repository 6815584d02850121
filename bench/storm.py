"""20,000 servers go DOWN within a second: how long until every state line is written, and in order for each server.

The lines go to a file (`log stdout`), which loses none and is slow for nobody. Goal: all within 5 seconds of the
moment when the backends began to refuse, then all UP lines after they came back.

    python bench/storm.py            20,000 servers, about 20 seconds
    python bench/storm.py --quick    1,000 servers
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchlib import PROGRAMS, BenchError, Checker, Responder, config_text, refuse, wait_until
from risefall.engine.play import Act, Door, http_reply

GOAL_S = 5.0
WAIT_S = 60.0
STATE = re.compile(rb"^Server (b\d+/s\d+) is (DOWN|UP)\b", re.MULTILINE)


class Storm(msgspec.Struct, frozen=True):
    """Seconds from the change of the backends to the last line. in_order: each server's lines were DOWN, UP."""

    program: str
    servers: int
    down_s: float
    up_s: float
    in_order: bool
    good: bool


class Lines:
    """The state lines in a growing file."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")
        self.rest = b""
        self.by_server: dict[bytes, list[bytes]] = {}

    def count(self, word: bytes) -> int:
        """Reads what is new; how many servers said <word> last."""
        data = self.rest + self.file.read()
        whole, _, self.rest = data.rpartition(b"\n")
        for server, state in STATE.findall(whole):
            self.by_server.setdefault(server, []).append(state)
        return sum(states[-1] == word for states in self.by_server.values())


def measure(program: str, responder: Responder, servers: int, cpu: int) -> Storm:
    """Lets all backends refuse, then come back."""

    def config(path: Path) -> str:
        return config_text(
            servers,
            responder.places,
            "check inter 1s rise 1 fall 1",
            socket_path=path,
            global_lines=["log stdout format raw local0"],
            default_lines=["log global"],
        )

    responder.script(Act(http_reply(200, "OK")))
    with Checker(program, config, cpu, options=("--log", "config")) as checker:
        wait_until("every server UP", lambda: checker.statuses()["UP"] == servers, WAIT_S)
        lines, took = Lines(checker.output), []
        for door, word in ((Door.REFUSE, b"DOWN"), (Door.OPEN, b"UP")):
            start = time.monotonic()
            responder.door(door)
            wait_until(f"all {word.decode()} lines", lambda w=word: lines.count(w) == servers, WAIT_S)  # type: ignore[misc]
            took.append(time.monotonic() - start)
        in_order = all(states == [b"DOWN", b"UP"] for states in lines.by_server.values())
    return Storm(program, servers, took[0], took[1], in_order, in_order and max(took) <= GOAL_S)


def main(argv: Sequence[str] | None = None) -> int:
    """See the head of this file. Exit code: 0, 1 when the goal was missed, 3 when it could not measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", choices=PROGRAMS, default="risefall")
    parser.add_argument("--servers", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cpu", type=int, default=0, help="core of the checker")
    parser.add_argument("--responder-cpu", type=int, default=1, help="core of the responder")
    options = parser.parse_args(argv)
    servers = options.servers or (1000 if options.quick else 20_000)
    try:
        with Responder(16, options.responder_cpu) as responder:
            storm = measure(options.program, responder, servers, options.cpu)
    except BenchError as error:
        return refuse(error)
    if options.json:
        sys.stdout.write(msgspec.json.encode(storm).decode() + "\n")
    else:
        order = "in order for each server" if storm.in_order else "NOT in order"
        print(f"{storm.program}: {servers} servers: all DOWN lines after {storm.down_s:.2f} s,", end=" ")
        print(f"all UP lines after {storm.up_s:.2f} s, {order}")
    return 0 if storm.good else 1


if __name__ == "__main__":
    sys.exit(main())
