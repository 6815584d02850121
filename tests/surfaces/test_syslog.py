"""Log lines byte by byte, and what becomes of them when nobody takes them."""

from __future__ import annotations

import os
import pty
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from risefall.config.haproxy.model import LogTarget
from risefall.surfaces import sinks
from risefall.surfaces.sinks import Nowhere, StreamSink, UnixSink, open_sink, split_host_port
from risefall.surfaces.syslog import FACILITIES, HEADS, LEVELS, Logger, Stamp, iso_date, render_line, rfc3164_date

WALL = 1793673198.104986  # 2026-11-03 02:33:18.104986 UTC
STAMP = Stamp(WALL, None, "haproxy", 5446)
HOSTED = Stamp(WALL, "web", "haproxy", 5446)


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dates are local times."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Clock:
    """Wall time that a test moves."""

    def __init__(self) -> None:
        self.now = WALL

    def __call__(self) -> float:
        return self.now


def target(address: str = "/dev/log", **settings: Any) -> LogTarget:
    return LogTarget(address, "local0", **settings)


def logger(*targets: LogTarget, send_hostname: str | None = None, clock: Clock | None = None) -> Logger:
    return Logger([targets], tags=["haproxy"], send_hostname=send_hostname, pid=5446, clock=clock or Clock())


# --- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "stamp", "line"),
    [
        ("", STAMP, b"<133>Nov  3 02:33:18 haproxy[5446]: text\n"),
        ("", HOSTED, b"<133>Nov  3 02:33:18 web haproxy[5446]: text\n"),
        ("local", STAMP, b"<133>Nov  3 02:33:18 haproxy[5446]: text\n"),
        ("local", HOSTED, b"<133>Nov  3 02:33:18 haproxy[5446]: text\n"),
        ("rfc3164", STAMP, b"<133>Nov  3 02:33:18 localhost haproxy[5446]: text\n"),
        ("rfc3164", HOSTED, b"<133>Nov  3 02:33:18 web haproxy[5446]: text\n"),
        ("rfc5424", STAMP, b"<133>1 2026-11-03T02:33:18.104986+00:00 - haproxy 5446 - - text\n"),
        ("rfc5424", HOSTED, b"<133>1 2026-11-03T02:33:18.104986+00:00 web haproxy 5446 - - text\n"),
        ("priority", HOSTED, b"<133>text\n"),
        ("short", HOSTED, b"<5>text\n"),
        ("timed", HOSTED, b"<5>2026-11-03T02:33:18.104986+00:00 text\n"),
        ("iso", HOSTED, b"2026-11-03T02:33:18.104986+00:00 text\n"),
        ("raw", HOSTED, b"text\n"),
    ],
)
def test_each_format_byte_by_byte(form: str, stamp: Stamp, line: bytes) -> None:
    """The datagrams of haproxy 2.6, spec §6.4."""
    assert render_line(target(format=form), 5, "text", stamp) == line


def test_a_host_name_asked_for_without_a_name_is_the_machines(tmp_path: Path) -> None:
    reader = datagram_reader(tmp_path / "log")
    log = logger(target(str(tmp_path / "log")), send_hostname="")
    log.log(0, 5, "text")
    assert reader.recv(999).split()[3] == socket.gethostname().encode()
    log.close()
    reader.close()


def test_priorities_are_facility_times_eight_plus_level() -> None:
    """local0.notice 133, local0.alert 129, local0.emerg 128; kern.emerg 0, local7.debug 191."""
    for facility, level, number in (("local0", 5, 133), ("local0", 1, 129), ("local0", 0, 128), ("kern", 0, 0)):
        one = LogTarget("/dev/log", facility, format="priority")
        assert render_line(one, level, "", STAMP) == b"<%d>\n" % number
    assert len(FACILITIES) == 24
    assert len(LEVELS) == 8
    assert render_line(LogTarget("/dev/log", "local7", format="priority"), 7, "", STAMP) == b"<191>\n"


def test_less_severe_lines_than_the_maximum_are_left_out() -> None:
    notice = target(format="raw", max_level="notice")
    assert render_line(notice, 6, "text", STAMP) is None
    assert render_line(notice, 5, "text", STAMP) == b"text\n"


def test_more_severe_lines_than_the_minimum_are_raised_in_number() -> None:
    at_most_warning = target(format="short", min_level="warning")
    assert render_line(at_most_warning, 0, "text", STAMP) == b"<4>text\n"
    assert render_line(at_most_warning, 6, "text", STAMP) == b"<6>text\n"


@pytest.mark.parametrize("form", sorted(HEADS))
def test_the_whole_line_is_cut_before_its_line_feed(form: str) -> None:
    line = render_line(target(format=form, len_bytes=80), 5, "x" * 500, STAMP)
    assert line is not None
    assert (len(line), line[-2:]) == (81, b"x\n")


def test_dates_are_local_and_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ+3:30")
    time.tzset()
    assert rfc3164_date(WALL) == "Nov  2 23:03:18"
    assert iso_date(WALL) == "2026-11-02T23:03:18.104986-03:30"
    assert iso_date(0.9999999) == "1969-12-31T20:30:01.000000-03:30"


def test_bytes_of_a_peer_come_out_as_they_were() -> None:
    assert render_line(target(format="raw"), 5, b"\xff\xc3\xa9".decode("utf-8", "surrogateescape"), STAMP) == (
        b"\xff\xc3\xa9\n"
    )
    assert render_line(target(format="raw"), 5, "\ud800!", STAMP) == b"?!\n"


# --- sinks ----------------------------------------------------------------------------------------


def datagram_reader(path: Path) -> socket.socket:
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    reader.bind(str(path))
    reader.setblocking(False)
    return reader


def drain(reader: socket.socket) -> list[bytes]:
    lines = []
    while True:
        try:
            lines.append(reader.recv(70_000))
        except BlockingIOError:
            return lines


def test_a_line_goes_to_each_target_of_its_proxy_in_order(tmp_path: Path) -> None:
    """Two formats of one address share a socket; the other proxy's target hears nothing."""
    reader, other = datagram_reader(tmp_path / "log"), datagram_reader(tmp_path / "other")
    here, there = str(tmp_path / "log"), str(tmp_path / "other")
    log = Logger(
        [[target(here, format="raw"), target(here, format="short")], [target(there)], []],
        tags=["a", "b", "c"], send_hostname=None, pid=1, clock=Clock(),
    )  # fmt: skip
    log.log(0, 5, "one")
    log.log(2, 5, "nobody")
    assert drain(reader) == [b"one\n", b"<5>one\n"]
    assert drain(other) == []
    log.log(1, 5, "two")
    assert drain(other) == [b"<133>Nov  3 02:33:18 b[1]: two\n"]
    assert (log.dropped, log.warnings, len(log.sinks)) == (0, (), 2)
    log.close()
    reader.close()
    other.close()


def test_a_full_unix_socket_drops_and_counts(tmp_path: Path) -> None:
    """Nothing blocks, nothing raises, and the next line goes through once there is room."""
    reader = datagram_reader(tmp_path / "log")
    log = logger(target(str(tmp_path / "log"), format="raw"))
    sent = 0
    while not log.dropped:
        log.log(0, 5, "text")
        sent += 1
    log.log(0, 5, "text")
    assert log.dropped == 2
    assert drain(reader) == [b"text\n"] * (sent - 1)
    log.log(0, 5, "again")
    assert drain(reader) == [b"again\n"]
    log.close()
    reader.close()


def test_a_missing_unix_socket_is_tried_once_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "log", Clock()
    log = logger(target(str(path), format="raw"), clock=clock)
    log.log(0, 5, "one")
    reader = datagram_reader(path)
    clock.now += 0.9
    log.log(0, 5, "two")
    assert (drain(reader), log.dropped) == ([], 2)
    clock.now += 0.1
    log.log(0, 5, "three")
    assert (drain(reader), log.dropped) == ([b"three\n"], 2)
    log.close()
    reader.close()


def test_a_clock_set_back_does_not_silence_a_unix_socket(tmp_path: Path) -> None:
    sink = UnixSink(str(tmp_path / "log"))
    sink.write(b"one\n", 1000.0)
    reader = datagram_reader(tmp_path / "log")
    sink.write(b"two\n", 10.0)
    assert drain(reader) == [b"two\n"]
    sink.close()
    reader.close()


def test_a_unix_reader_that_comes_back_is_found(tmp_path: Path) -> None:
    path, clock = tmp_path / "log", Clock()
    log = logger(target(str(path), format="raw"), clock=clock)
    for line in ("one", "two"):
        reader = datagram_reader(path)
        log.log(0, 5, line)
        assert drain(reader) == [line.encode() + b"\n"]
        reader.close()
        path.unlink()
    log.close()


@pytest.mark.parametrize(
    ("family", "host", "written"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1:{}"),
        (socket.AF_INET, "127.0.0.1", "udp@127.0.0.1:{}"),
        (socket.AF_INET6, "::1", "[::1]:{}"),
        (socket.AF_INET6, "::1", "ipv6@::1:{}"),
        (socket.AF_INET, "127.0.0.1", "ipv4@localhost:{}"),
    ],
)
def test_udp_targets(family: int, host: str, written: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as reader:
        reader.bind((host, 0))
        reader.settimeout(5)
        log = logger(target(written.format(reader.getsockname()[1]), format="raw"))
        log.log(0, 5, "text")
        assert reader.recv(99) == b"text\n"
        assert log.dropped == 0
        log.close()


def test_a_datagram_that_the_kernel_refuses_is_dropped(free_port: int) -> None:
    """65535 bytes are more than UDP carries; a port without a reader costs nothing that the sender sees."""
    log = logger(target(f"127.0.0.1:{free_port}", format="raw", len_bytes=65535))
    log.log(0, 5, "x" * 65535)
    assert log.dropped == 1
    log.log(0, 5, "text")
    log.log(0, 5, "text")
    assert log.dropped == 1
    log.close()


def test_host_and_port() -> None:
    assert split_host_port("10.0.0.1") == ("10.0.0.1", 514)
    assert split_host_port("[::1]") == ("::1", 514)
    assert split_host_port("::1:515") == ("::1", 515)
    assert split_host_port("[::1]:515") == ("::1", 515)
    for wrong in ("host:0", "host:65536", "host:x"):
        with pytest.raises(ValueError, match=r"port|int"):
            split_host_port(wrong)


@pytest.mark.parametrize(
    "address", ["ring@here", "tcp@127.0.0.1:514", "fd@987", "fd@x", "127.0.0.1:99999", "127.0.0.1:0"]
)
def test_what_cannot_be_served_warns_once_and_drops(address: str) -> None:
    log = Logger(
        [[target(address)], [target(address)]], tags=["a", "b"], send_hostname=None, pid=1, clock=Clock()
    )  # fmt: skip
    log.log(0, 5, "one")
    log.log(1, 5, "two")
    assert log.dropped == 2
    assert len(log.warnings) == 1
    assert address in log.warnings[0]
    log.close()


# --- streams --------------------------------------------------------------------------------------


def read_all(fd: int) -> bytes:
    """What lies in a pipe now."""
    os.set_blocking(fd, False)
    got = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except BlockingIOError:
            return got
        if not piece:
            return got
        got += piece


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        with suppress(OSError):
            os.close(fd)


def lines_of(count: int, size: int) -> Sequence[bytes]:
    return [b"%05d" % number + b"x" * size + b"\n" for number in range(count)]


@pytest.mark.parametrize("reopened", [True, False])
def test_a_pipe_that_is_full_drops_whole_lines(
    pipe: tuple[int, int], reopened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line starts inside another, with a description of our own and, where that is refused, with poll."""
    reader, writer = pipe
    if not reopened:
        monkeypatch.setattr(sinks, "own_description", lambda fd: None)
    sink = StreamSink(writer)
    lines = lines_of(60, 5000)
    for line in lines:
        sink.write(line, 0.0)
    assert sink.dropped > 0
    got = read_all(reader)
    sink.write(b"last\n", 0.0)
    got += read_all(reader)
    assert got.endswith(b"x\nlast\n")
    whole = got.splitlines(keepends=True)
    assert whole[:-1] == lines[: len(whole) - 1]
    assert len(whole) - 1 + sink.dropped == 60
    assert os.get_blocking(writer)
    sink.close()


def test_a_pipe_without_reader_drops(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = open_sink(f"fd@{writer}")
    sink.write(b"one\n", 0.0)
    os.close(reader)
    sink.write(b"two\n", 0.0)
    assert sink.dropped == 1
    sink.close()
    sink.close()


def test_half_a_line_that_is_never_taken_counts_at_the_end(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    sink = StreamSink(writer)
    sink.write(b"x" * 200_000 + b"\n", 0.0)
    assert sink.dropped == 0
    sink.close()
    assert sink.dropped == 1


def test_a_stream_socket_as_stdout() -> None:
    """What systemd gives a service."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sink = open_sink(f"fd@{ours.fileno()}")
        sink.write(b"text\n", 0.0)
        assert theirs.recv(99) == b"text\n"
        while not sink.dropped:
            sink.write(b"x" * 5000 + b"\n", 0.0)
        assert ours.getblocking()
        sink.close()
        ours.send(b"", socket.MSG_DONTWAIT)


def test_a_terminal_keeps_its_blocking_mode() -> None:
    master, slave = pty.openpty()
    try:
        sink = open_sink(f"fd@{slave}")
        sink.write(b"text\n", 0.0)
        assert os.read(master, 99) == b"text\r\n"
        for _ in range(2000):
            sink.write(b"x" * 200 + b"\n", 0.0)
        assert sink.dropped > 0
        assert os.get_blocking(slave)
        sink.close()
    finally:
        os.close(master)
        os.close(slave)


def test_a_file_takes_every_line(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        sink = open_sink(f"fd@{out.fileno()}")
        for line in lines_of(50, 9000):
            sink.write(line, 0.0)
        assert sink.dropped == 0
        sink.close()
    assert (tmp_path / "out").read_bytes() == b"".join(lines_of(50, 9000))


def test_stdout_and_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    log = logger(target("stdout", format="short"), target("stderr", format="raw"))
    log.log(0, 5, "text")
    log.close()
    assert capfd.readouterr() == ("<5>text\n", "text\n")


def test_names_are_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first IPv4 address if there is one; a name without address warns."""
    asked: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reader:
        reader.bind(("127.0.0.1", 0))
        reader.settimeout(5)

        def look_up(host: str, port: int, family: int, kind: int) -> list[tuple[Any, ...]]:
            asked.append(host)
            if host == "gone":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [
                (socket.AF_INET6, kind, 17, "", ("::1", port, 0, 0)),
                (socket.AF_INET, kind, 17, "", ("127.0.0.1", port)),
            ]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        log = logger(target(f"here:{reader.getsockname()[1]}", format="raw"), target("gone"))
        for line in ("one", "two"):
            log.log(0, 5, line)
            assert reader.recv(99) == line.encode() + b"\n"
    assert asked == ["here", "gone"]
    assert log.warnings == ("log gone: Name or service not known",)
    log.close()


def test_nowhere_counts() -> None:
    sink = Nowhere("why")
    sink.write(b"", 0.0)
    sink.close()
    assert (sink.dropped, sink.why) == (1, "why")
