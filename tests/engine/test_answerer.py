"""The agent's answerer on real sockets: what it says to whom, and that nobody can hurt it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from risefall.engine.answerer import LINE_MAX, SERVICES_MAX, TEXT_MAX, Answerer
from risefall.engine.native import now_ns
from risefall.errors import NativeError

DEADLINE_S = 20.0
LOCAL = ipaddress.ip_address("127.0.0.1")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def listener(host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, 0), backlog=512, family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def add(answerer: Answerer, service: int | None = 0, *, by_text: bool = False, host: str = "127.0.0.1") -> int:
    """Another listener; its port."""
    made = listener(host)
    port = int(made.getsockname()[1])
    answerer.listen(made, service, by_text=by_text)
    return port


def ask(port: int, text: bytes = b"", *, source: str = "127.0.0.1", host: str = "127.0.0.1") -> bytes | None:
    """What is answered, up to the end of the stream; None for a reset."""
    try:
        with socket.create_connection((host, port), DEADLINE_S, source_address=(source, 0)) as client:
            if text:
                client.sendall(text)
            return b"".join(iter(lambda: client.recv(4096), b""))
    except ConnectionResetError:
        return None


@pytest.fixture
def answerer() -> Iterator[Answerer]:
    with Answerer(text_ms=300, linger_ms=300) as made:
        yield made


def test_a_line_and_the_end(answerer: Answerer) -> None:
    port = add(answerer)
    assert ask(port) is None  # nothing to say yet
    answerer.say(0, b"up 75%")
    assert ask(port) == b"up 75%\n"
    answerer.say(0, b"down #disk full")
    assert ask(port) == b"down #disk full\n"
    counts = answerer.counts()
    assert (counts.accepted, counts.answered, counts.silent) == (3, 2, 1)


def test_a_text_that_is_not_asked_for_does_no_harm(answerer: Answerer) -> None:
    """A peer that says something, and reads late: the answer is not overtaken by a reset."""
    port = add(answerer)
    answerer.say(0, b"up")
    for _ in range(50):
        assert ask(port, b"anything\n" * 10) == b"up\n"


def test_the_text_chooses_the_service(answerer: Answerer) -> None:
    port = add(answerer, 0, by_text=True)
    nobody = add(answerer, None, by_text=True)
    for service, name in enumerate((b"first", b"app", b"db")):
        answerer.say(service, name)
        answerer.name(name.decode(), service)
    assert ask(port, b"app\n") == b"app\n"
    assert ask(port, b"db\r\n") == b"db\n"
    assert ask(port, b"other\n") == b"first\n"
    assert ask(nobody, b"db\n") == b"db\n"
    assert ask(nobody, b"other\n") is None
    assert answerer.counts().unknown == 2
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:  # in pieces, and without its end
        for piece in (b"a", b"p", b"p"):
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"app\n"


def test_no_text_in_time(answerer: Answerer) -> None:
    port = add(answerer, 0, by_text=True)
    answerer.say(0, b"up")
    assert ask(port) == b"up\n"
    assert answerer.counts().late == 1


def test_a_stale_answer_is_not_given(answerer: Answerer) -> None:
    port = add(answerer)
    answerer.say(0, b"up", good_until_ns=now_ns() - 1, stale=b"down #stale", word=1)
    assert ask(port) == b"down #stale\n"
    assert answerer.drain() == []  # no word that has to be taken back
    answerer.say(0, b"up", good_until_ns=now_ns() - 1)
    assert ask(port) is None
    assert answerer.counts().stale == 2


def test_who_was_told_what(answerer: Answerer) -> None:
    """Each peer's first answer of a kind is news, and `once` goes to one peer, once."""
    port = add(answerer)
    other = ipaddress.ip_address("127.0.0.2")
    answerer.say(0, b"drain", word=1)
    assert ask(port) == ask(port) == ask(port, source="127.0.0.2") == b"drain\n"
    assert [(one.peer, one.word, one.once) for one in answerer.drain()] == [(LOCAL, 1, False), (other, 1, False)]
    answerer.say(0, b"up", word=2)
    answerer.say_once(other, 0, b"up ready")
    assert ask(port) == b"up\n"
    assert ask(port, source="127.0.0.2") == b"up ready\n"
    assert ask(port, source="127.0.0.2") == b"up\n"
    assert [(one.peer, one.word, one.once) for one in answerer.drain()] == [(LOCAL, 2, False), (other, 2, True)]
    assert [(one.peer, one.service, one.word) for one in answerer.peers()] == [(LOCAL, 0, 2), (other, 0, 2)]
    answerer.say_once(LOCAL, 0, b"up ready")
    answerer.say_once(LOCAL, 0, b"")
    assert ask(port) == b"up\n"


def test_what_was_told_before_a_restart_is_no_news(answerer: Answerer) -> None:
    port = add(answerer)
    answerer.remember(LOCAL, 0, 7)
    answerer.say(0, b"drain", word=7)
    assert ask(port) == b"drain\n"
    assert answerer.drain() == []


def test_news_wake_whoever_waits(answerer: Answerer) -> None:
    import select

    port = add(answerer)
    answerer.say(0, b"up")
    assert select.select([answerer], [], [], 0)[0] == []
    ask(port)
    assert select.select([answerer], [], [], DEADLINE_S)[0] == [answerer]
    assert len(answerer.drain()) == 1
    assert select.select([answerer], [], [], 0)[0] == []


def test_only_those_that_are_allowed(answerer: Answerer) -> None:
    port = add(answerer)
    answerer.say(0, b"up")
    answerer.allow(ipaddress.ip_network("127.0.0.8/30"))
    assert ask(port, source="127.0.0.9") == b"up\n"
    assert ask(port) is None
    answerer.allow(ipaddress.ip_network("127.0.0.1/32"))
    assert ask(port) == b"up\n"
    assert answerer.counts().refused == 1


def test_over_ipv6(answerer: Answerer) -> None:
    try:
        port = add(answerer, host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    answerer.say(0, b"up")
    assert ask(port, source="::1", host="::1") == b"up\n"
    (told,) = answerer.drain()
    assert told.peer == ipaddress.ip_address("::")  # its /64


def open_many(port: int, count: int) -> list[socket.socket]:
    """So many connections; some may be reset as soon as they stand."""
    opened = []
    for _ in range(count):
        client = socket.socket()
        client.settimeout(DEADLINE_S)
        with contextlib.suppress(ConnectionResetError):
            client.connect(("127.0.0.1", port))
        opened.append(client)
    return opened


def close_all(clients: list[socket.socket]) -> None:
    for client in clients:
        client.close()


def test_one_peer_cannot_take_all_places() -> None:
    with Answerer(per_peer_max=10, text_ms=60_000, linger_ms=1000) as answerer:
        port = add(answerer, 0, by_text=True)
        answerer.say(0, b"up")
        held = open_many(port, 15)
        until(lambda: answerer.counts().crowded == 5, "five are reset")
        assert ask(port, b"x\n", source="127.0.0.2") == b"up\n"
        assert answerer.counts().open >= 10
        close_all(held)
        until(lambda: answerer.counts().open == 0, "all are gone")


def test_above_the_bound_the_oldest_goes() -> None:
    with Answerer(connections_max=8, per_peer_max=100, text_ms=60_000, linger_ms=1000) as answerer:
        port = add(answerer, 0, by_text=True)
        answerer.say(0, b"up")
        held = open_many(port, 20)
        until(lambda: answerer.counts().accepted == 20, "all were taken")
        assert (answerer.counts().open, answerer.counts().evicted) == (8, 12)
        assert ask(port, b"x\n") == b"up\n"
        close_all(held)


def test_a_peer_that_never_closes_or_never_stops(answerer: Answerer) -> None:
    port = add(answerer)
    answerer.say(0, b"up")
    idle = open_many(port, 50)
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), DEADLINE_S) as talker:
        for _ in range(1000):
            talker.sendall(b"x" * 10_000)
    assert ask(port) == b"up\n"
    until(lambda: answerer.counts().open == 0, "all are ended by their deadline")
    close_all(idle)


def test_a_megabyte_in_place_of_a_name() -> None:
    with Answerer(text_ms=60_000, linger_ms=1000) as answerer:
        port = add(answerer, 0, by_text=True)
        answerer.say(0, b"up")
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as talker:
            talker.sendall(b"y" * (TEXT_MAX + 1))
            assert talker.recv(100) == b"up\n"
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    talker.sendall(b"y" * 10_000)
        until(lambda: answerer.counts().open == 0, "it is gone")


def test_a_peer_that_resets_at_once(answerer: Answerer) -> None:
    port = add(answerer)
    answerer.say(0, b"up")
    for _ in range(100):
        client = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert ask(port) == b"up\n"
    until(lambda: answerer.counts().open == 0, "all are gone")


def test_bad_words_are_refused(answerer: Answerer) -> None:
    with pytest.raises(ValueError, match="at most"):
        answerer.say(0, b"x" * (LINE_MAX + 1))
    with pytest.raises(NativeError):
        answerer.say(0, b"a\nb")
    with pytest.raises(NativeError):
        answerer.say(SERVICES_MAX, b"up")
    with pytest.raises(NativeError):
        answerer.name("", 0)
    with pytest.raises(NativeError):
        answerer.name("x" * (TEXT_MAX + 1), 0)
    with pytest.raises(NativeError):
        Answerer(connections_max=0)
    answerer.close()
    answerer.close()
