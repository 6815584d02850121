"""How late checks start while clients of the runtime socket do what they should not, beside the same time without them.

Clients read slowly, send garbage, lines of a megabyte and thousands of commands a line, open a thousand connections and
leave them; an honest client asks for the version all the while. Such clients also keep the machine busy, whoever they talk
to: so first they do the same to a socket of nobody's, the stand-in. The goal is that checks are as punctual as then: p99
within 3 ms of it, that every honest question is answered, and that memory stays within 64 MB of before.

    python bench/surface_faults.py            a minute
    python bench/surface_faults.py --quick    ten seconds, 1,000 servers
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import socketserver
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchlib import (
    BenchError,
    Checker,
    Responder,
    Stats,
    all_stats,
    config_text,
    options_of,
    refuse,
    sizes_of,
    wait_until,
)
from risefall.engine.play import Act, http_reply

LISTENERS = 16
STATS_MS = 500
SLACK_MS = 3.0
GROWTH_MAX = 64 << 20
CONNECTIONS = 1000
LINE_MAX = 16_384
HELD = 200
"""Connections that one who opens many keeps at once: this side has descriptors too."""


class Sizes(msgspec.Struct, frozen=True):
    """servers, inter_s: what is checked; watch_s: how long each way is looked at."""

    servers: int = 5000
    inter_s: int = 2
    watch_s: int = 6


QUICK = Sizes(servers=1000, inter_s=1, watch_s=3)


class Seen(msgspec.Struct, frozen=True):
    """One span of time. answered_ms: of the honest client, median and worst. grown: bytes since the quiet span. late_elsewhere_ms: p99 while
    the stand-in has the clients."""

    way: str
    checks: int
    late_elsewhere_ms: float
    late_p99_ms: float
    late_max_ms: float
    answers: int
    answered_ms: float
    answered_max_ms: float
    grown: int
    good: bool = True


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(1)
    sock.connect(path)
    return sock


def sends(data: bytes) -> Callable[[str], None]:
    """A client that sends and reads nothing but what comes before it is thrown out."""

    def act(path: str) -> None:
        with connect(path) as sock:
            sock.sendall(data)
            sock.recv(1)

    return act


def reads_slowly(path: str) -> None:
    with connect(path) as sock:
        sock.sendall(b"show stat\n" * 20)
        for _ in range(5):
            sock.recv(100)
            time.sleep(0.05)


def opens_many(path: str) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(CONNECTIONS):
            sock = stack.enter_context(connect(path))
            if number % HELD == HELD - 1:
                stack.close()
            elif number % 2:
                sock.sendall(b"show st")


WAYS: dict[str, Callable[[str], None] | None] = {
    "quiet": None,
    "reads slowly": reads_slowly,
    "garbage": sends(os.urandom(16_000).replace(b"\n", b";") + b"\n"),
    "a line of 1 MB": sends(b"x" * 1_000_000),
    "thousands of commands a line": sends(b"x;" * 8000 + b"\n"),
    "a thousand connections": opens_many,
}


class Repeated(threading.Thread):
    """Does something until told to end; errors of the socket are part of it. took_s: of each time that went well."""

    def __init__(self, act: Callable[[], None], pause_s: float) -> None:
        super().__init__(daemon=True)
        self._act, self._pause_s = act, pause_s
        self._over = threading.Event()
        self.took_s: list[float] = []

    def run(self) -> None:
        while not self._over.wait(self._pause_s):
            begin = time.monotonic()
            with contextlib.suppress(OSError):
                self._act()
                self.took_s.append(time.monotonic() - begin)

    def end(self) -> None:
        self._over.set()
        self.join()


class OneClient(socketserver.BaseRequestHandler):
    """What the stand-in does: takes a line or as much as risefall would, and answers something."""

    def handle(self) -> None:
        self.request.settimeout(1)
        got = 0
        with contextlib.suppress(OSError):
            while got <= LINE_MAX and (data := self.request.recv(LINE_MAX)):
                got += len(data)
                if b"\n" in data:
                    self.request.sendall(bytes(LINE_MAX))
                    return


class StandIn(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 1024


@contextlib.contextmanager
def stand_in(folder: str) -> Iterator[str]:
    """Its path; it is a process of its own on the core of the clients."""
    path = f"{folder}/stand-in.sock"
    process = multiprocessing.Process(target=lambda: StandIn(path, OneClient).serve_forever(), daemon=True)
    process.start()
    wait_until("the stand-in listens", lambda: os.path.exists(path), 20)
    try:
        yield path
    finally:
        process.terminate()
        process.join()
        os.unlink(path)


def late_while(checker: Checker, watch_s: float, clients: Sequence[Repeated]) -> list[Stats]:
    """The statistics of a span with clients."""
    start = len(all_stats(checker.output))
    for client in clients:
        client.start()
    time.sleep(watch_s)
    for client in clients:
        client.end()
    return all_stats(checker.output)[start + 1 :]


def p99_ms(stats: Sequence[Stats]) -> float:
    return statistics.median(one.late_p99_us for one in stats) / 1000


def seen(checker: Checker, way: str, watch_s: float, before: int) -> Seen:
    """One span with two clients of a kind beside the honest one, after one with the stand-in. before: memory then."""

    def honest() -> None:
        if not checker.ask("show version"):
            raise BenchError(f"{way}: an honest client was not answered")

    def clients(path: str) -> list[Repeated]:
        act = WAYS[way]
        return [] if act is None else [Repeated(lambda: act(path), 0.0) for _ in range(2)]

    asking = Repeated(honest, 0.02)
    with stand_in(checker.folder.name) as path:
        elsewhere = p99_ms(late_while(checker, watch_s, [Repeated(honest, 0.02), *clients(path)]))
    stats = late_while(checker, watch_s, [asking, *clients(str(checker.socket_path))])
    took = sorted(asking.took_s)
    if not stats or not took:
        raise BenchError(f"{way}: no statistics, or no answer")
    grown = checker.memory_bytes() - before
    return Seen(
        way=way,
        checks=sum(one.checks for one in stats),
        late_elsewhere_ms=elsewhere,
        late_p99_ms=p99_ms(stats),
        late_max_ms=max(one.late_max_us for one in stats) / 1000,
        answers=len(took),
        answered_ms=statistics.median(took) * 1000,
        answered_max_ms=took[-1] * 1000,
        grown=grown,
        good=p99_ms(stats) <= elsewhere + SLACK_MS and grown <= GROWTH_MAX,
    )


def measure(responder: Responder, sizes: Sizes, cpu: int) -> list[Seen]:
    """Every way in turn; the first one is the quiet one."""

    def config(path: Path) -> str:
        return config_text(sizes.servers, responder.places, f"check inter {sizes.inter_s}s", socket_path=path)

    options = ("--log", "none", "--json", "--stats", f"{STATS_MS}ms")
    with Checker("risefall", config, cpu, options=options) as checker:
        up = sizes.servers * 0.99
        wait_until("the servers are UP", lambda: checker.statuses()["UP"] >= up, 10 * sizes.inter_s + 20)
        time.sleep(sizes.inter_s)
        before = checker.memory_bytes()
        return [seen(checker, way, sizes.watch_s, before) for way in WAYS]


def main(argv: Sequence[str] | None = None) -> int:
    """See the head of this file. Exit code: 0, 1 when the goal was missed, 3 when it could not measure."""
    parser = options_of(__doc__, Sizes(), responder_cpu="core of the responder and of the clients")
    options = parser.parse_args(argv)
    sizes = sizes_of(options, Sizes(), QUICK)
    os.sched_setaffinity(0, {options.responder_cpu})
    try:
        with Responder(LISTENERS, options.responder_cpu) as responder:
            responder.script(Act(http_reply(200, "OK")))
            found = measure(responder, sizes, options.cpu)
    except BenchError as error:
        return refuse(error)
    if options.json:
        for one in found:
            print(msgspec.json.encode(one).decode())
    else:
        table = Table(
            "clients",
            "checks",
            "late p99, stand-in",
            "late p99",
            "worst",
            "honest: answers",
            "median",
            "worst",
            "memory",
        )
        for one in found:
            table.add_row(
                one.way, f"{one.checks:,}", f"{one.late_elsewhere_ms:.1f} ms", f"{one.late_p99_ms:.1f} ms", f"{one.late_max_ms:.1f} ms", f"{one.answers}",
                f"{one.answered_ms:.1f} ms", f"{one.answered_max_ms:.1f} ms", f"{one.grown / 2**20:+.1f} MB",
            )  # fmt: skip
        Console(width=120).print(table)
    return 0 if all(one.good for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
