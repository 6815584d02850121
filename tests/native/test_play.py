"""The played backends do what their scripts say, byte by byte and in the order told."""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from risefall.engine.play import ALL, OK, Act, Door, Listener, Note, Player, Seen, Then, When, http_reply
from risefall.errors import NativeError

REQUEST = b"OPTIONS / HTTP/1.0\r\n\r\n"
DEADLINE_S = 5.0


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=8, connections=64) as made:
        yield made


def eventually(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "it never came true"
        select.select([], [], [], 0.001)


def dial(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=DEADLINE_S)


def ask(port: int, request: bytes = REQUEST, host: str = "127.0.0.1") -> bytes:
    """Sends, and reads until the other side has ended or fallen silent for a moment after its first bytes."""
    with dial(port, host) as sock:
        sock.sendall(request)
        got = sock.recv(65536)
        while got and select.select([sock], [], [], 0.05)[0]:
            more = sock.recv(65536)
            if not more:
                break
            got += more
    return got


def ask_once(port: int) -> bytes:
    with dial(port) as sock:
        sock.sendall(REQUEST)
        return sock.recv(100)


def is_reset(port: int, request: bytes) -> bool:
    """Whether a connection that sends this ends with RST."""
    try:
        with dial(port) as sock:
            sock.sendall(request)
            return sock.recv(1) == b"never"
    except (ConnectionResetError, BrokenPipeError):
        return True


def test_answers_whole_requests_and_keeps_them(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, OK)
    assert ask(port) == OK.reply
    body = b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
    with dial(port) as sock:
        for at in range(len(body)):
            sock.sendall(body[at : at + 1])
        assert sock.recv(100) == OK.reply
    assert (player.request(listener), player.request(listener, 1)) == (body, REQUEST)
    assert player.request(listener, 2) is None
    tally = player.counts(listener)
    assert (tally.accepts, tally.requests, tally.answers) == (2, 2, 2)
    assert (tally.bytes_in, tally.bytes_out) == (len(body) + len(REQUEST), 2 * len(OK.reply))
    eventually(lambda: player.counts(listener).open == 0)
    assert player.counts(listener).ends == 2


def test_a_connection_that_stays_is_answered_again(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, OK)
    with dial(port) as sock:
        sock.sendall(REQUEST * 3)
        eventually(lambda: player.counts(listener).answers == 3)
        sock.sendall(REQUEST)
        eventually(lambda: player.counts(listener).answers == 4)


def test_requests_that_come_while_an_answer_is_delayed_are_answered_too(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, Act(OK.reply, delay_ms=5))
    with dial(port) as sock:
        sock.sendall(REQUEST * 3)
        eventually(lambda: player.counts(listener).answers == 3)


def test_the_script_goes_by_connection(player: Player) -> None:
    acts = [Act(b"%d\n" % i, When.ACCEPT, Then.FIN) for i in range(4)]
    listener, port = player.listen("127.0.0.1", 0, *acts, repeat_from=2)
    assert [ask(port, b"") for _ in range(7)] == [b"0\n", b"1\n", b"2\n", b"3\n", b"2\n", b"3\n", b"2\n"]
    player.script(listener, *acts[:2])
    assert [ask(port, b"") for _ in range(3)] == [b"0\n", b"1\n", b"1\n"]


def test_reset_after_accept_and_after_request(player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, Act(b"", When.ACCEPT, Then.RST), Act(b"", When.REQUEST, Then.RST))
    for request in (b"", REQUEST):
        assert is_reset(port, request)


def test_fin_comes_although_the_request_was_not_read(player: Player) -> None:
    """close() with unread input would reset; a backend that closes early must still look like an end of stream."""
    _, port = player.listen("127.0.0.1", 0, Act(b"half", When.ACCEPT, Then.FIN))
    with dial(port) as sock:
        sock.sendall(REQUEST)
        got = b""
        while part := sock.recv(100):
            got += part
    assert got == b"half"


def test_silence_and_half_an_answer(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, Act(when=When.NEVER), Act(OK.reply[:10]))
    with dial(port) as sock:
        sock.sendall(REQUEST)
        eventually(lambda: player.counts(listener).bytes_in == len(REQUEST))
        assert not select.select([sock], [], [], 0.05)[0]
    assert ask(port) == OK.reply[:10]


def test_delay_and_drip(player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, Act(b"abcdef", When.ACCEPT, Then.FIN, delay_ms=60, gap_ms=10))
    start = time.monotonic()
    with dial(port) as sock:
        pieces = list(iter(lambda: sock.recv(100), b""))
    assert b"".join(pieces) == b"abcdef"
    assert len(pieces) > 1
    assert time.monotonic() - start >= 0.100


def test_answers_once_the_bytes_wanted_came(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, Act(b"up\n", When.BYTES, bytes_wanted=5))
    with dial(port) as sock:
        sock.sendall(b"hell")
        assert not select.select([sock], [], [], 0.05)[0]
        sock.sendall(b"o")
        assert sock.recv(100) == b"up\n"
    assert player.request(listener) == b"hello"


GREETS = Act(b"220 hello\r\n", When.ACCEPT, Then.NEXT)
DIALOGUE = (
    GREETS,
    Act(b"250 ok\r\n", When.BYTES, Then.NEXT, bytes_wanted=6),
    Act(b"221 ", When.BYTES, Then.NEXT, bytes_wanted=6),
    Act(b"bye\r\n", When.ACCEPT, Then.FIN, delay_ms=5),
)


def talk(port: int) -> list[bytes]:
    """What is heard before, between and after two lines."""
    with dial(port) as sock:
        heard = [sock.recv(100)]
        for line in (b"EHLO\r\n", b"QUIT\r\n"):
            sock.sendall(line)
            heard.append(sock.recv(4) if line == b"QUIT\r\n" else sock.recv(100))
        return [*heard, *iter(lambda: sock.recv(100), b"")]


def test_a_dialogue_is_one_connection(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, Act(b"busy", When.ACCEPT, Then.FIN), *DIALOGUE)
    assert ask(port, b"") == b"busy"
    for _ in range(2):
        assert talk(port) == [b"220 hello\r\n", b"250 ok\r\n", b"221 ", b"bye\r\n"]
    assert [player.request(listener, back) for back in range(3)] == [b"QUIT\r\n", b"EHLO\r\n", b"QUIT\r\n"]


def test_a_round_of_dialogues(player: Player) -> None:
    """Both are repeated, each as a whole; a line that comes too early waits for its act."""
    acts = (GREETS, OK, GREETS, Act(b"late", When.ACCEPT, Then.NEXT, delay_ms=20), Act(b"no", then=Then.FIN))
    _, port = player.listen("127.0.0.1", 0, *acts, repeat_from=0)
    for _ in range(2):
        assert ask(port) == GREETS.reply + OK.reply
        assert ask(port) == GREETS.reply + b"lateno"


def test_endless_goes_on_until_the_peer_goes(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, Act(b"x-filler: y\r\n", endless=True))
    with dial(port) as sock:
        sock.sendall(REQUEST)
        got = 0
        while got < 1_000_000:
            got += len(sock.recv(65536))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: player.counts(listener).open == 0)
    assert player.counts(listener).resets == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.77", "::1", "abns@risefall-test-play", "path"])
def test_doors(player: Player, tmp_path: Path, host: str) -> None:
    """Refused, deaf and open again, at the same port or path, as often as one likes."""
    host = str(tmp_path / "sock") if host == "path" else host
    name: object = "\0" + host[5:] if host.startswith("abns@") else host
    listener, port = player.listen(host, 0, Act(b"up\n", When.ACCEPT, Then.FIN))
    family = {":": socket.AF_INET6, ".": socket.AF_INET}.get(host[0] if host[0] == ":" else host[3], socket.AF_UNIX)

    def knock() -> int:
        with socket.socket(family) as sock:
            sock.setblocking(False)
            error = sock.connect_ex(name if family == socket.AF_UNIX else (name, port))  # type: ignore[arg-type]
            if error == errno.EINPROGRESS:
                ready = select.select([], [sock], [], 0.05)[1]
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.ETIMEDOUT
            if error == 0:
                assert select.select([sock], [], [], DEADLINE_S)[0]
                assert sock.recv(100) == b"up\n"
            return error

    for _ in range(2):
        player.door(listener, Door.REFUSE)
        assert knock() == errno.ECONNREFUSED
        player.door(listener, Door.DEAF)
        assert knock() == (errno.EAGAIN if family == socket.AF_UNIX else errno.ETIMEDOUT)
        player.door(listener, Door.OPEN)
        assert knock() == 0


def test_more_connections_than_room_wait_and_are_served(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, OK)
    socks = [dial(port) for _ in range(100)]
    eventually(lambda: player.counts(listener).open == 64)
    for sock in socks:
        sock.sendall(REQUEST)
    for sock in socks:
        assert sock.recv(100) == OK.reply
        sock.close()
    eventually(lambda: player.counts(ALL).open == 0)


def test_an_overlong_request_is_cut(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, OK)
    assert is_reset(port, b"GET /" + b"a" * 5000)
    assert player.counts(listener).overlong == 1


def test_times_of_connections_are_kept(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, OK)
    assert player.times_ns(listener) == []
    before = time.monotonic_ns()
    for _ in range(70):
        ask_once(port)
    times = player.times_ns(listener)
    assert len(times) == 64
    assert times == sorted(times)
    assert before < times[0] <= times[-1] < time.monotonic_ns()


def test_busy_is_asked_since_last_time(player: Player) -> None:
    player.busy()
    busy = player.busy()
    assert 0 <= busy.cpu_ns <= busy.wall_ns
    assert 0.0 <= busy.share <= 1.0


def test_what_cannot_be_played_is_refused(player: Player) -> None:
    listener, _ = player.listen()
    with pytest.raises(NativeError, match="from act 3 on"):
        player.script(listener, OK, repeat_from=3)
    with pytest.raises(NativeError, match="act 0 cannot be played"):
        player.script(listener, Act(bytes_wanted=5000))
    with pytest.raises(NativeError, match="act 1 cannot be played"):
        player.script(listener, OK, GREETS)
    with pytest.raises(NativeError, match="act 0 cannot be played"):
        player.script(listener, GREETS, OK, repeat_from=1)
    with pytest.raises(NativeError, match="no listener 77"):
        player.door(Listener(77), Door.OPEN)
    with pytest.raises(NativeError, match="bind"):
        player.listen("192.0.2.1")
    for _ in range(7):
        player.listen()
    with pytest.raises(NativeError, match="8 listeners"):
        player.listen()


def test_http_reply() -> None:
    assert http_reply(404, "Not Found", b"no", ["X: y"]) == (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX: y\r\n\r\nno"
    )
    assert http_reply(204) == b"HTTP/1.1 204\r\nContent-Length: 0\r\n\r\n"


def test_latency_is_drawn_from_the_quantiles_told(player: Player) -> None:
    """Answers wait one of the delays; with 30 and 60 ms none comes at once, and without any they do again."""
    player.notes()
    listener, port = player.listen("127.0.0.1", 0, OK)
    player.latency(listener, [30_000, 60_000], seed=7)
    for _ in range(12):
        assert ask_once(port)
    took = answered_ns(player, 12)
    assert min(took) >= 28_000_000
    assert any(one < 58_000_000 for one in took)
    assert any(one >= 58_000_000 for one in took)
    player.latency(listener, [])
    assert ask_once(port)
    assert answered_ns(player, 1)[0] < 28_000_000


def answered_ns(player: Player, count: int) -> list[int]:
    """How long the next answers took."""
    took: list[int] = []

    def enough() -> bool:
        took.extend(note.took_ns for note in player.notes()[0] if note.seen is Seen.ANSWERED)
        return len(took) >= count

    eventually(enough)
    return took


def test_capacity_falls_under_load(player: Player) -> None:
    """Requests at once are answered one after another, and each that waits makes the next one slower."""
    player.notes()
    listener, port = player.listen("127.0.0.1", 0, OK)
    player.capacity(listener, 20_000, drop_pct=100)
    socks = [dial(port) for _ in range(4)]
    for sock in socks:
        sock.sendall(REQUEST)
    took = answered_ns(player, 4)
    for sock in socks:
        sock.close()
    assert sorted(took) == took
    assert took[0] >= 19_000_000
    assert took[3] >= 150_000_000, "20 + 40 + 80 + 160 ms of service, less what passed between the requests"


def test_notes_tell_what_was_seen_and_when(player: Player) -> None:
    player.notes()
    before = time.monotonic_ns()
    listener, port = player.listen("127.0.0.1", 0, OK)
    assert ask_once(port)
    seen: list[Note] = []

    def ended() -> bool:
        seen.extend(player.notes()[0])
        return any(note.seen is Seen.ENDED for note in seen)

    eventually(ended)
    assert [note.seen for note in seen] == [Seen.TURNED, Seen.ACCEPTED, Seen.ANSWERED, Seen.ENDED]
    assert all(note.listener == listener for note in seen)
    assert before <= seen[0].at_ns <= seen[1].at_ns <= seen[3].at_ns <= time.monotonic_ns()
    assert seen[3].took_ns == seen[3].at_ns - seen[1].at_ns
    player.door(listener, Door.REFUSE)
    assert [note.seen for note in player.notes()[0]] == [Seen.TURNED]


def test_too_many_delays_are_refused(player: Player) -> None:
    with pytest.raises(NativeError):
        player.latency(ALL, [1] * 5000)
    with pytest.raises(NativeError):
        player.capacity(Listener(7), 1)
