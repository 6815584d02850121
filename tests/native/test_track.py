"""risefall-track: every kind passes and fails as it should, within its deadline, and says why in one line."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from risefall.daemon.tracked import Board, Kind, open_board
from risefall.engine.facts import Facts
from risefall.errors import NativeError
from serve_kit import answering, serving

TRACK = Path(sysconfig.get_path("scripts")) / "risefall-track"
LIMIT_S = 20


def track(*words: object) -> tuple[int, str]:
    """Exit code and what was said."""
    done = subprocess.run([str(TRACK), *map(str, words)], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def fails(reason: str, *words: object) -> None:
    """It fails with one line that holds the reason."""
    code, said = track(*words)
    assert (code, said.count("\n")) == (1, 1), said
    assert said.startswith("risefall-track: ")
    assert reason in said


@contextmanager
def unix_server(path: Path, reply: bytes = b"", kind: int = socket.SOCK_STREAM) -> Iterator[None]:
    """Answers one client after it has sent something."""
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(str(path))
        listener.listen(8)

        def run() -> None:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.recv(1000)
                client.sendall(reply)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(LIMIT_S)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with open_board(f"{tmp_path}/r.track") as board:
        yield board


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["ping", "127.0.0.1"],
        ["tcp"],
        ["tcp", "localhost:80"],
        ["tcp", "127.0.0.1"],
        ["tcp", "127.0.0.1:0"],
        ["tcp", "127.0.0.1:65536"],
        ["tcp", "::1:80"],
        ["http", "https://127.0.0.1/"],
        ["http", "http://localhost/"],
        ["http", "http://127.0.0.1/a b"],
        ["http", "http://127.0.0.1/", "--expect", "2xx"],
        ["server", "app"],
        ["server", "a/b", "--min-up", "1"],
        ["backend", "app", "--min-up", "0"],
        ["agent", "web", "--min-weight", "many"],
        ["file", "/etc/passwd", "--newer-than", "30"],
        ["process", "/usr/sbin/nginx"],
        ["unix", "/" + "x" * 200],
        ["tcp", "127.0.0.1:80", "--timeout", "0s"],
        ["tcp", "127.0.0.1:80", "--fallback", "file", "/etc/passwd"],
        ["server", "a/b", "--fallback", "backend", "b"],
        ["server", "a/b", "--fallback"],
    ],
)
def test_misuse_is_2(words: list[str]) -> None:
    code, said = track(*words)
    assert code == 2
    assert "--help" in said


def test_help_ends_with_examples_and_version_is_told() -> None:
    done = subprocess.run([TRACK, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().splitlines()[-1].startswith("  risefall-track ")
    done = subprocess.run([TRACK, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("risefall-track 0.")


def test_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert track("tcp", f"127.0.0.1:{port}") == (0, "")
    fails("Connection refused", "tcp", f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("reply", "expect", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "200", None),
        (b"HTTP/1.0 302 Found\r\n\r\n", None, None),
        (b"HTTP/1.1 401 No\r\n\r\n", "200-299,401", None),
        (b"HTTP/1.1 503 No\r\n\r\n", None, "HTTP status 503, expected 200-399"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", None, "not HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", None, "not HTTP"),
    ],
)
def test_http(reply: bytes, expect: str | None, reason: str | None) -> None:
    with serving(answering(reply)) as port:
        words = ["http", f"http://127.0.0.1:{port}/ok", *(["--expect", expect] if expect else [])]
        if reason is None:
            assert track(*words) == (0, "")
        else:
            fails(reason, *words)


def test_a_silent_peer_is_a_failure_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        fails("no HTTP reply in time", "http", f"http://127.0.0.1:{port}/", "--timeout", "100ms")


def test_unix(tmp_path: Path) -> None:
    fails("No such file", "unix", tmp_path / "u")
    for name, kind in (("s", socket.SOCK_STREAM), ("d", socket.SOCK_DGRAM)):
        with socket.socket(socket.AF_UNIX, kind) as listener:
            listener.bind(f"{tmp_path}/{name}")
            if kind == socket.SOCK_STREAM:
                listener.listen(1)
            assert track("unix", tmp_path / name) == (0, "")
        fails("Connection refused", "unix", tmp_path / name)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"Name: HAProxy\nVersion: 2.6.12\nStopping: 0\n\n", None),
        (b"Name: HAProxy\nStopping: 1\n\n", "HAProxy is stopping"),
        (b"Name: HAProxy\nVersion: 2\n\n", "does not say"),
        (b"Name: Varnish\nStopping: 0\n", "is not HAProxy"),
        (b"", "closed without"),
    ],
)
def test_haproxy(tmp_path: Path, reply: bytes, reason: str | None) -> None:
    with unix_server(tmp_path / "h", reply):
        if reason is None:
            assert track("haproxy", tmp_path / "h") == (0, "")
        else:
            fails(reason, "haproxy", tmp_path / "h")


@pytest.mark.parametrize("old", [b"Name: HAProxy\nStopping: 1\n\n", b""])
def test_who_still_met_the_old_haproxy_of_a_reload_asks_the_new_one(tmp_path: Path, old: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/h")
        listener.listen(2)
        listener.settimeout(LIMIT_S)

        def serve() -> None:
            for reply in (old, b"Name: HAProxy\nStopping: 0\n\n"):
                with listener.accept()[0] as stream:
                    stream.recv(100)
                    stream.sendall(reply)

        server = threading.Thread(target=serve)
        server.start()
        assert track("haproxy", tmp_path / "h") == (0, "")
        server.join()


def test_a_full_backlog_ends_at_the_deadline(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(f"{tmp_path}/h")
        listener.listen(0)
        first.connect(f"{tmp_path}/h")
        fails("in time", "haproxy", tmp_path / "h", "--timeout", "100ms")


def test_process(tmp_path: Path) -> None:
    name = f"rf{os.getpid()}"
    long_name = f"{name}-with-a-long-name"
    for each in (name, long_name):
        (tmp_path / each).symlink_to(sys.executable)
        fails("no such process", "process", each)
        code = "print(flush=True); input()"
        with subprocess.Popen([tmp_path / each, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
            assert one.stdout is not None
            one.stdout.readline()
            assert track("process", each) == (0, "")
            fails("no such process", "process", each[:-1])
            one.kill()
            os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
            if each == name:  # a zombie has no command line any more, so that a long name cannot be told
                fails("zombie", "process", each)


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "stamp"
    fails("No such file", "file", path)
    path.touch()
    assert track("file", path, "--newer-than", "1h") == (0, "")
    os.utime(path, (time.time() - 7200,) * 2)
    assert track("file", path) == (0, "")
    fails("s ago", "file", path, "--newer-than=1h")
    os.utime(path, (time.time() + 7200,) * 2)
    fails("in the future", "file", path, "--newer-than", "1h")


def test_the_alarm_ends_it_with_a_line() -> None:
    """As what the kernel holds up is ended, but sent by hand, long before the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with (
            subprocess.Popen([TRACK, "http", url, "--timeout", "1h"], stderr=subprocess.PIPE) as one,
            listener.accept()[0] as client,
        ):
            client.recv(1000)
            one.send_signal(signal.SIGALRM)
            assert one.wait(LIMIT_S) == 1
            assert one.stderr is not None
            assert b"did not end in time" in one.stderr.read()


@contextmanager
def dead_mount(at: Path) -> Iterator[None]:
    """A file system that answers nothing, as a dead NFS server's: whoever looks into it waits in the kernel."""
    at.mkdir()
    libc = ctypes.CDLL(None)
    try:
        fd = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("there is no /dev/fuse to open here")
    options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}".encode()
    try:
        if libc.mount(b"fuse", os.fsencode(at), b"fuse", 6, options):  # MS_NOSUID, MS_NODEV
            pytest.skip("nothing can be mounted here")
        yield
    finally:
        os.close(fd)  # ends every wait
        libc.umount2(os.fsencode(at), 2)  # MNT_DETACH


def test_a_file_on_a_dead_mount_is_a_failure(tmp_path: Path) -> None:
    """Only a fatal signal ends such a wait, so not even the alarm is heard; keepalived counts the kill as a failure."""
    with dead_mount(tmp_path / "dead"):
        code, _ = track("file", tmp_path / "dead" / "stamp", "--timeout", "100ms")
        assert code == -signal.SIGKILL


def test_sigterm_is_never_a_success() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with subprocess.Popen([TRACK, "http", url, "--timeout", "1h"]) as one, listener.accept()[0] as client:
            client.recv(1000)
            one.terminate()
            assert one.wait(LIMIT_S) == -signal.SIGTERM


def test_facts_of_the_daemon(board: Board, tmp_path: Path) -> None:
    asked = ("--socket", tmp_path / "r")
    fails("not known yet", "server", "b/s", *asked)
    board.publish(Kind.SERVER, "b/s", good=True, reason="UP")
    board.publish(Kind.SERVER, "b/t", good=False, reason="DOWN")
    board.publish(Kind.BACKEND, "b", good=True, weight=1, reason="1 of 2 servers up")
    board.publish(Kind.SCRIPT, "chk", good=False, reason="exited with status 3")
    board.publish(Kind.AGENT, "web", good=True, weight=40, reason="up 40%")
    assert track("server", "b/s", *asked) == (0, "")
    fails("server b/t: DOWN", "server", "b/t", *asked)
    assert track("backend", "b", *asked) == (0, "")
    fails("1 of 2 servers up, 2 wanted", "backend", "b", "--min-up", 2, *asked)
    fails("exited with status 3", "script", "chk", *asked)
    assert track("agent", "web", "--min-weight", 40, *asked) == (0, "")
    fails("up 40%, 41 wanted", "agent", "web", "--min-weight", 41, *asked)
    board.complete(Kind.SERVER)
    fails("none of this name", "server", "b/u", *asked, "--fallback", "file", "/")
    board.withdraw(Kind.SERVER, "b/s")
    fails("none of this name", "server", "b/s", *asked)


def test_the_environment_says_where_to_ask(board: Board, tmp_path: Path) -> None:
    board.publish(Kind.SERVER, "b/s", good=True)
    board.publish(Kind.AGENT, "web", good=True, weight=40)

    def code(*words: str, **told: str) -> int:
        env = {"PATH": "/bin", **told}
        return subprocess.run([TRACK, *words], env=env, capture_output=True, timeout=LIMIT_S, check=False).returncode

    here, nowhere = f"{tmp_path}/r", f"{tmp_path}/gone"
    assert code("server", "b/s", RISEFALL_SOCKET=here) == 0
    assert code("agent", "web", RISEFALL_AGENT_SOCKET=here, RISEFALL_SOCKET=nowhere) == 0
    assert code("server", "b/s", RISEFALL_SOCKET=nowhere) == 1
    assert code("server", "b/s", "--socket", here, RISEFALL_SOCKET=nowhere) == 0


def answer(facts: Facts, question: str) -> str:
    return facts.ask(question.encode()).decode()


def test_what_nobody_keeps_fresh_is_not_known() -> None:
    """As the daemon's 30 s, but short."""
    with Facts(stale_ns=50_000_000) as facts:
        facts.put(Kind.SERVER, b"b/s", True, 0, b"UP")
        limit = time.monotonic() + LIMIT_S
        while (said := answer(facts, "server\nb/s\n1")) == "0 UP":
            assert time.monotonic() < limit
            time.sleep(0.005)
        assert said == "? not known yet, the daemon is starting"
        facts.ready(Kind.SERVER)
        assert answer(facts, "server\nb/s\n1") == "? the daemon hangs: its facts are old"
    with Facts(stale_ns=3_600_000_000_000) as facts:
        facts.put(Kind.SERVER, b"b/s", True, 0, b"UP")
        facts.touch()
        assert answer(facts, "server\nb/s\n1") == "0 UP"


def test_facts_are_restored_as_of_before() -> None:
    """All that was known; a second restore says no more of it, and bytes that were cut are refused."""
    hour_ns = 3_600_000_000_000
    with Facts(hour_ns) as first, Facts(hour_ns) as second, Facts(hour_ns) as third:
        for number in range(3000):
            first.put(Kind.SERVER, f"b/s{number}".encode(), number % 3 != 0, number, b"x" * (number % 256))
        first.put(Kind.SCRIPT, b"chk", None, 0, b"no result yet")
        saved = first.save()
        assert second.restore(saved) == 3000
        for number in (0, 1, 2999):
            said = f"{1 if number % 3 == 0 else 0} {'x' * min(number % 256, 255 - 21)} (before the restart)"
            assert answer(second, f"server\nb/s{number}\n1") == said
        assert answer(second, "script\nchk\n1") == "? not known yet"
        assert third.restore(second.save()) == 3000
        assert answer(third, "server\nb/s1\n1") == "0 x (before the restart)"
        with pytest.raises(NativeError, match="cannot be read"):
            third.restore(saved[:-1])


def test_the_fallback_decides_what_the_daemon_cannot(board: Board, tmp_path: Path) -> None:
    asked = ("--socket", tmp_path / "r")
    assert track("server", "b/s", *asked, "--fallback", "file", "/") == (0, "")
    fails("not known yet; file /no: cannot", "server", "b/s", *asked, "--fallback", "file", "/no")
    board.publish(Kind.SERVER, "b/s", good=False, reason="DOWN")
    fails("DOWN", "server", "b/s", *asked, "--fallback", "file", "/")
    gone = ("--socket", tmp_path / "gone")
    fails("No such file", "server", "b/s", *gone)
    assert track("server", "b/s", *gone, "--fallback", "file", "/") == (0, "")


def test_a_daemon_that_hangs_leaves_time_for_the_fallback(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"{tmp_path}/r.track")
        listener.listen(8)
        asked = ("server", "b/s", "--socket", tmp_path / "r", "--timeout", "200ms")
        fails("did not answer in time", *asked)
        assert track(*asked, "--fallback", "file", "/") == (0, "")


def test_where(tmp_path: Path) -> None:
    copy = tmp_path / "track"
    copy.write_bytes(TRACK.read_bytes())
    copy.chmod(0o777)
    done = subprocess.run([copy, "--where"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{copy}: may be written by everybody" in done.stdout
    link = tmp_path / "link"
    link.symlink_to(copy)
    done = subprocess.run([copy, "--where", link], capture_output=True, text=True, check=False)
    assert "symbolic link" in done.stdout
