"""What hostile clients may take of the answerer: bounded places and memory, and everybody else is answered meanwhile.

Real sockets on loopback; nothing here asserts a time, bench/agent_hostile.py measures them.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from risefall.engine.answerer import Answerer, Lines

IDLE = 5000
PLACES = 1024
LONG_S = 20.0
GROWTH_MAX_KB = 16 * 1024


@contextlib.contextmanager
def answering(*, by_text: bool, text_ms: int = 60_000, per_source: int = 10_000) -> Iterator[tuple[Answerer, int]]:
    """An answerer of one service, and its port; deadlines are far, so that what bounds is not the clock."""
    with (
        Answerer(connections_max=PLACES, per_source_max=per_source, text_ms=text_ms, linger_ms=60_000) as answerer,
        contextlib.closing(socket.create_server(("127.0.0.1", 0), backlog=4096)) as listener,
    ):
        port = listener.getsockname()[1]
        answerer.name("app", 0)
        answerer.say(0, Lines(b"up 100%", b"up ready 100%", b"down #stale", b"down ready #stale"))
        answerer.listen(listener, [0], 0, by_text=by_text)
        yield answerer, port


def ask(port: int, text: bytes = b"app\n", source: str = "127.0.0.1") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=LONG_S, source_address=(source, 0)) as stream:
        stream.sendall(text)
        return stream.makefile("rb").read()


def resident_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize("by_text", [False, True])
def test_five_thousand_idle_connections(by_text: bool) -> None:
    """They hold as many places as there are, the oldest go, and whoever asks is answered in between."""
    with contextlib.ExitStack() as held, answering(by_text=by_text) as (answerer, port):
        before = resident_kb()
        for number in range(IDLE):
            held.enter_context(
                socket.create_connection(
                    ("127.0.0.1", port), timeout=LONG_S, source_address=(f"127.0.1.{1 + number % 200}", 0)
                )
            )
            if number % 250 == 0:
                assert ask(port) == b"up 100%\n"
        assert ask(port) == b"up 100%\n"
        counts = answerer.counts()
        assert counts.open <= PLACES
        assert counts.evicted >= IDLE - PLACES
        assert resident_kb() - before < GROWTH_MAX_KB


def test_one_source_has_its_share_and_no_more() -> None:
    """Its further connections are reset; another source does not notice."""
    with contextlib.ExitStack() as held, answering(by_text=True, per_source=8) as (answerer, port):
        for _ in range(8):
            held.enter_context(
                socket.create_connection(("127.0.0.1", port), timeout=LONG_S, source_address=("127.0.1.1", 0))
            )
        assert ask(port, source="127.0.1.2") == b"up 100%\n"
        with pytest.raises(ConnectionError):
            ask(port, source="127.0.1.1") or _reset()
        assert answerer.counts().crowded == 1


def test_a_source_at_its_limit_gives_up_its_own_oldest_answered_one() -> None:
    """Who asks again before this side has seen the close of the last time is not sent away."""
    with contextlib.ExitStack() as held, answering(by_text=False, per_source=8) as (answerer, port):
        others = held.enter_context(
            socket.create_connection(("127.0.0.1", port), timeout=LONG_S, source_address=("127.0.1.9", 0))
        )
        kept = [
            held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LONG_S)).makefile("rb")
            for _ in range(8)
        ]
        assert [one.read() for one in kept] == [b"up 100%\n"] * 8
        for _ in range(20):
            last = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LONG_S))
            assert last.makefile("rb").read() == b"up 100%\n"
        counts = answerer.counts()
        assert (counts.crowded, counts.evicted, counts.open) == (0, 20, 9)
        assert others.makefile("rb").read() == b"up 100%\n"


def _reset() -> None:
    raise ConnectionResetError("closed without a word")


def test_a_megabyte_of_agent_send_is_cut_off() -> None:
    with answering(by_text=True) as (answerer, port):
        before = resident_kb()
        for _ in range(20):
            with contextlib.suppress(ConnectionError):
                ask(port, b"app " + b"x" * (1 << 20))
            assert ask(port) == b"up 100%\n"
        assert resident_kb() - before < GROWTH_MAX_KB
        assert answerer.counts().open <= 40


def test_a_byte_now_and_then_gets_the_default_answer_at_its_deadline() -> None:
    """Each byte gives no more time: the deadline is the connection's, from its start."""
    with (
        answering(by_text=True, text_ms=200) as (answerer, port),
        socket.create_connection(("127.0.0.1", port), timeout=0.02) as drip,
    ):
        said = b""
        while not said:
            with contextlib.suppress(TimeoutError):
                said = drip.recv(100)
            if not said:
                drip.send(b"x")
                assert ask(port) == b"up 100%\n"
        assert said == b"up 100%\n"
        assert answerer.counts().late == 1


def test_those_that_never_read_hold_up_nobody() -> None:
    """The answer fits any socket's buffer, so there is nothing to wait for."""
    with contextlib.ExitStack() as held, answering(by_text=False) as (answerer, port):
        for _ in range(200):
            deaf = held.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            deaf.settimeout(LONG_S)
            deaf.connect(("127.0.0.1", port))
        assert ask(port, b"") == b"up 100%\n"
        assert answerer.counts().silent == 0
