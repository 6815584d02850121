"""The agent's answerer on real sockets: what it says to whom, and that nobody can hurt it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from risefall.engine.answerer import LINE_MAX, PEERS_MAX, SERVICES_MAX, TEXT_MAX, Answerer, Lines, Peer, Told
from risefall.engine.native import now_ns
from risefall.errors import NativeError

DEADLINE_S = 20.0
LOCAL = Peer(ipaddress.ip_address("127.0.0.1"))
OTHER = Peer(ipaddress.ip_address("127.0.0.2"))
UP = Lines(fresh=b"up", news=b"up ready")
DRAIN = Lines(fresh=b"drain", news=b"drain", takes=1)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def listener(host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, 0), backlog=512, family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def add(
    answerer: Answerer,
    service: int | None = 0,
    *,
    by_text: bool = False,
    host: str = "127.0.0.1",
    services: tuple[int, ...] = tuple(range(SERVICES_MAX)),
) -> int:
    """Another listener; its port."""
    made = listener(host)
    port = int(made.getsockname()[1])
    answerer.listen(made, services, service, by_text=by_text)
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
    answerer.say(0, Lines(b"up 75%"))
    assert ask(port) == b"up 75%\n"
    answerer.say(0, Lines(b"down #disk full"))
    assert ask(port) == b"down #disk full\n"
    counts = answerer.counts()
    assert (counts.accepted, counts.answered, counts.silent) == (3, 2, 1)


def test_a_text_that_is_not_asked_for_does_no_harm(answerer: Answerer) -> None:
    """A peer that says something, and reads late: the answer is not overtaken by a reset."""
    port = add(answerer)
    answerer.say(0, UP)
    for _ in range(50):
        assert ask(port, b"anything\n" * 10) == b"up\n"


def test_the_text_chooses_the_service(answerer: Answerer) -> None:
    port = add(answerer, 0, by_text=True)
    nobody = add(answerer, None, by_text=True)
    for service, name in enumerate((b"first", b"app", b"db")):
        answerer.say(service, Lines(name))
        answerer.name(name.decode(), service)
    assert ask(port, b"app\n") == b"app\n"
    assert ask(port, b"db\r\n") == b"db\n"
    assert ask(port, b"other\n") == b"first\n"
    assert ask(nobody, b"db\n") == b"db\n"
    assert ask(nobody, b"other\n") is None
    assert answerer.counts().unknown == 2
    assert answerer.unknown() == (LOCAL.address, "other", None)
    assert ask(add(answerer, 2, by_text=True, services=(0, 2)), b"app\n") == b"db\n"  # no service of that port
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:  # in pieces, and without its end
        for piece in (b"a", b"p", b"p"):
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"app\n"


def test_no_text_in_time(answerer: Answerer) -> None:
    port = add(answerer, 0, by_text=True)
    answerer.say(0, UP)
    assert ask(port) == b"up\n"
    assert answerer.counts().late == 1
    answerer.say(1, Lines(b"down"))
    answerer.name("app", 1)
    assert ask(port, b"app") == b"down\n"  # an agent-send without its line feed
    assert (answerer.counts().late, answerer.counts().unknown) == (2, 0)


def test_a_stale_answer_is_not_given(answerer: Answerer) -> None:
    port = add(answerer)
    answerer.say(0, Lines(b"up", stale=b"down #stale"), good_until_ns=now_ns() - 1)
    assert ask(port) == b"down #stale\n"
    answerer.say(0, UP, good_until_ns=now_ns() - 1)
    assert ask(port) is None
    assert answerer.counts().stale == 2


def test_who_was_told_what(answerer: Answerer) -> None:
    """Each peer's first answer of a kind is news, and `ready` goes to those alone that had heard a drain, once."""
    port = add(answerer)
    answerer.say(0, DRAIN, word=1)
    assert ask(port) == ask(port) == b"drain\n"
    assert [(one.peer, one.word, one.owed) for one in answerer.drain()] == [(LOCAL, 1, 1)]
    answerer.say(0, UP, word=2)
    assert [ask(port), ask(port, source="127.0.0.2"), ask(port)] == [b"up ready\n", b"up\n", b"up\n"]
    assert [(one.peer, one.word, one.owed) for one in answerer.drain()] == [(LOCAL, 2, 0), (OTHER, 2, 0)]
    assert [(one.peer, one.service, one.word) for one in answerer.peers()] == [(LOCAL, 0, 2), (OTHER, 0, 2)]


def test_a_second_word_tells_servers_of_one_peer_apart(answerer: Answerer) -> None:
    port = add(answerer, by_text=True)
    answerer.name("app", 0)
    answerer.say(0, DRAIN)
    assert ask(port, b"app web\n") == ask(port, b"app  api\r\n") == b"drain\n"
    answerer.say(0, UP)
    texts = (b"app web\n", b"app web\n", b"app api\n", b"app\n", b"app api \xff\n")
    assert [ask(port, text) for text in texts] == [b"up ready\n", b"up\n", b"up ready\n", b"up\n", b"up\n"]
    assert [str(one.peer) for one in answerer.peers()] == ["127.0.0.1 web", "127.0.0.1 api", "127.0.0.1"]


def test_what_was_told_before_a_restart_is_no_news(answerer: Answerer) -> None:
    port = add(answerer)
    answerer.remember(Told(LOCAL, 0, word=7, owed=1, at_ns=5))
    answerer.remember(Told(OTHER, 0, owed=2))
    answerer.say(0, DRAIN, word=7)
    assert ask(port) == b"drain\n"
    assert answerer.drain() == []
    assert [(one.peer, one.owed) for one in answerer.peers()] == [(LOCAL, 1), (OTHER, 2)]


def test_a_drain_that_may_have_been_heard_is_taken_back_and_a_ready_that_was_not_is_said_again(
    answerer: Answerer,
) -> None:
    answerer.say(0, DRAIN)
    assert answerer.ask(LOCAL, 0, 1, sent=False) == b"drain\n"
    answerer.say(0, UP)
    assert answerer.ask(LOCAL, 0, 2, sent=False) == b"up ready\n"
    assert [answerer.ask(LOCAL, 0, now) for now in (3, 4)] == [b"up ready\n", b"up\n"]


def test_several_servers_behind_one_name_hear_ready_as_often(answerer: Answerer) -> None:
    answerer.say(0, Lines(b"maint", b"maint", takes=3))
    assert answerer.ask(LOCAL, 0, 1) == b"maint\n"
    answerer.say(0, UP)
    assert [answerer.ask(LOCAL, 0, now) for now in range(2, 7)] == [b"up ready\n"] * 3 + [b"up\n"] * 2


def test_old_numbers_do_not_hold_back_a_ready(answerer: Answerer) -> None:
    answerer.say(0, DRAIN)
    assert answerer.ask(LOCAL, 0, 1) == b"drain\n"
    answerer.say(0, Lines(b"up", b"up ready", b"down", b"down ready"), good_until_ns=10)
    assert [answerer.ask(LOCAL, 0, 11) for _ in range(2)] == [b"down ready\n", b"down\n"]


def test_many_names_push_out_nobody_who_is_owed_a_word(answerer: Answerer) -> None:
    """A peer may call itself what it likes: it is bounded, and harms nobody's `ready`."""
    answerer.say(0, DRAIN)
    assert answerer.ask(LOCAL, 0, 1) == b"drain\n"
    answerer.say(0, UP)
    for number in range(2 * PEERS_MAX):
        answerer.ask(Peer(LOCAL.address, f"x{number}"), 0, 2 + number)
    assert len(answerer.peers()) == PEERS_MAX
    assert answerer.ask(LOCAL, 0, 1 << 20) == b"up ready\n"


def test_news_that_nobody_took_are_told_again(answerer: Answerer) -> None:
    for number in range(1, 1200):
        answerer.say(0, UP, word=number)
        answerer.ask(LOCAL, 0, number)
    assert answerer.counts().told_lost == 1199 - 1024
    heard = [one.word for _ in range(5) for one in answerer.drain()]
    assert heard == list(range(1, 1025))
    answerer.ask(LOCAL, 0, 2000)
    assert [one.word for one in answerer.drain()] == [1199]


def test_news_wake_whoever_waits(answerer: Answerer) -> None:
    import select

    port = add(answerer)
    answerer.say(0, UP)
    assert select.select([answerer], [], [], 0)[0] == []
    ask(port)
    assert select.select([answerer], [], [], DEADLINE_S)[0] == [answerer]
    assert len(answerer.drain()) == 1
    assert select.select([answerer], [], [], 0)[0] == []


def test_only_those_that_are_allowed(answerer: Answerer) -> None:
    port = add(answerer)
    answerer.say(0, UP)
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
    answerer.say(0, UP)
    assert ask(port, source="::1", host="::1") == b"up\n"
    (told,) = answerer.drain()
    assert told.peer == Peer(ipaddress.ip_address("::1"))


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
    with Answerer(per_source_max=10, text_ms=60_000, linger_ms=1000) as answerer:
        port = add(answerer, 0, by_text=True)
        answerer.say(0, UP)
        held = open_many(port, 15)
        until(lambda: answerer.counts().crowded == 5, "five are reset")
        assert ask(port, b"x\n", source="127.0.0.2") == b"up\n"
        assert answerer.counts().open >= 10
        close_all(held)
        until(lambda: answerer.counts().open == 0, "all are gone")


def test_above_the_bound_the_oldest_goes() -> None:
    with Answerer(connections_max=8, per_source_max=100, text_ms=60_000, linger_ms=1000) as answerer:
        port = add(answerer, 0, by_text=True)
        answerer.say(0, UP)
        held = open_many(port, 20)
        until(lambda: answerer.counts().accepted == 20, "all were taken")
        assert (answerer.counts().open, answerer.counts().evicted) == (8, 12)
        assert ask(port, b"x\n") == b"up\n"
        close_all(held)


def test_a_peer_that_never_closes_or_never_stops(answerer: Answerer) -> None:
    port = add(answerer)
    answerer.say(0, UP)
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
        answerer.say(0, UP)
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as talker:
            talker.sendall(b"y" * (TEXT_MAX + 1))
            assert talker.recv(100) == b"up\n"
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    talker.sendall(b"y" * 10_000)
        until(lambda: answerer.counts().open == 0, "it is gone")


def test_a_peer_that_resets_at_once(answerer: Answerer) -> None:
    port = add(answerer)
    answerer.say(0, UP)
    for _ in range(100):
        client = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert ask(port) == b"up\n"
    until(lambda: answerer.counts().open == 0, "all are gone")


def test_bad_words_are_refused(answerer: Answerer) -> None:
    with pytest.raises(ValueError, match="at most"):
        answerer.say(0, Lines(b"x" * (LINE_MAX + 1)))
    with pytest.raises(NativeError):
        answerer.say(0, Lines(b"a\nb"))
    with pytest.raises(NativeError):
        answerer.say(SERVICES_MAX, UP)
    with pytest.raises(NativeError):
        answerer.name("", 0)
    with pytest.raises(NativeError):
        answerer.name("x" * (TEXT_MAX + 1), 0)
    with pytest.raises(NativeError):
        Answerer(connections_max=0)
    answerer.close()
    answerer.close()
