"""`show stat` of 15,000 servers: how long until the last byte is there, risefall beside haproxy 2.6.

Both check the same servers and have the same core; a client on the other core asks them in turn, and the order changes with
each round. A ratio is taken within a round. First it shows that both give the same rows: proxies, servers, statuses.

    python bench/show_stat.py            a minute
    python bench/show_stat.py --quick    1,000 servers
"""

from __future__ import annotations

import contextlib
import csv
import os
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchlib import PROGRAMS, BenchError, Checker, Responder, config_text, options_of, refuse, sizes_of, wait_until
from risefall.engine.play import Act, http_reply

GOAL = 1.5
LISTENERS = 16
COMMANDS = {"csv": "show stat", "typed": "show stat typed", "json": "show stat json"}
SAME = ("pxname", "svname", "status", "weight", "act", "bck", "iid", "sid", "type", "check_code", "addr", "mode")


class Sizes(msgspec.Struct, frozen=True):
    """servers: how many; inter_s: between checks of each; rounds: how often each is asked."""

    servers: int = 15_000
    inter_s: int = 20
    rounds: int = 15


QUICK = Sizes(servers=1000, inter_s=2, rounds=3)


class Figures(msgspec.Struct, frozen=True):
    """Medians of seconds, and of the ratios within rounds."""

    form: str
    haproxy_s: float
    risefall_s: float
    ratio: float
    least: float
    most: float
    bytes: dict[str, int]


def asked(checker: Checker, command: str) -> tuple[float, bytes]:
    """Seconds from the command to the end of the answer, and the answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(60)
        sock.connect(str(checker.socket_path))
        begin = time.perf_counter()
        sock.sendall(command.encode() + b"\n")
        told = b"".join(iter(lambda: sock.recv(1 << 18), b""))
        return time.perf_counter() - begin, told


def rows(checker: Checker) -> list[tuple[str, ...]]:
    """What both must say alike."""
    found = csv.DictReader(asked(checker, "show stat")[1].decode().removeprefix("# ").splitlines())
    return [tuple(row[name] or "" for name in SAME) for row in found if row["pxname"]]


def measure(checkers: dict[str, Checker], form: str, rounds: int) -> Figures:
    """Both in turn."""
    took: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    sizes: dict[str, int] = {}
    for number in range(-1, rounds):  # the first round warms up
        for name in PROGRAMS if number % 2 else reversed(PROGRAMS):
            seconds, told = asked(checkers[name], COMMANDS[form])
            sizes[name] = len(told)
            if number >= 0:
                took[name].append(seconds)
    ratios = [ours / theirs for theirs, ours in zip(took["haproxy"], took["risefall"], strict=True)]
    return Figures(
        form=form,
        haproxy_s=statistics.median(took["haproxy"]),
        risefall_s=statistics.median(took["risefall"]),
        ratio=statistics.median(ratios),
        least=min(ratios),
        most=max(ratios),
        bytes=sizes,
    )


def run(responder: Responder, sizes: Sizes, cpu: int, forms: Sequence[str]) -> list[Figures]:
    """Starts both, waits until they agree, asks."""

    def config(path: Path) -> str:
        return config_text(sizes.servers, responder.places, f"check inter {sizes.inter_s}s", socket_path=path)

    with contextlib.ExitStack() as stack:
        checkers = {name: stack.enter_context(Checker(name, config, cpu)) for name in PROGRAMS}

        def agree() -> bool:
            theirs, ours = (rows(checkers[name]) for name in PROGRAMS)
            return theirs == ours and sum(row[SAME.index("check_code")] == "200" for row in ours) >= 0.9 * sizes.servers

        wait_until("both have checked and say the same", agree, 3 * sizes.inter_s + 20, 1.0)
        return [measure(checkers, form, sizes.rounds) for form in forms]


def main(argv: Sequence[str] | None = None) -> int:
    """See the head of this file. Exit code: 0, 1 when the goal was missed, 3 when it could not measure."""
    parser = options_of(
        __doc__, Sizes(), cpu="core of both programs", responder_cpu="core of the responder and of the client"
    )
    parser.add_argument("--forms", default="csv", help="which of csv, typed and json, with commas; the goal is of csv")
    options = parser.parse_args(argv)
    sizes = sizes_of(options, Sizes(), QUICK)
    os.sched_setaffinity(0, {options.responder_cpu})
    try:
        with Responder(LISTENERS, options.responder_cpu) as responder:
            responder.script(Act(http_reply(200, "OK")))
            found = run(responder, sizes, options.cpu, options.forms.split(","))
    except BenchError as error:
        return refuse(error)
    if options.json:
        for one in found:
            print(msgspec.json.encode(one).decode())
    else:
        table = Table("show stat", "haproxy", "risefall", "ratio, median (spread)", "goal")
        for one in found:
            table.add_row(
                f"{one.form}, {sizes.servers:,} servers",
                f"{one.haproxy_s * 1000:.1f} ms",
                f"{one.risefall_s * 1000:.1f} ms",
                f"{one.ratio:.2f} ({one.least:.2f} .. {one.most:.2f})",
                f"<= {GOAL}" if one.form == "csv" else "",
            )
        Console().print(table)
    return 0 if all(one.ratio <= GOAL for one in found if one.form == "csv") else 1


if __name__ == "__main__":
    sys.exit(main())
