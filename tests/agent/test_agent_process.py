"""`risefall agent` as a process: what a manager is told, how it ends, how it is killed, and what may not stop it from answering."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from cli_kit import risefall
from risefall.agent.voice import Kept
from risefall.agent.wire import Ask, Do, Said
from risefall.cli.ctl_agent import ask_agent
from risefall.engine.answerer import Answerer, Lines

LONG_S = 20.0
WITHIN_S = 60.0
KILLS = 6
SO_TIMESTAMPNS = 35  # include/uapi/asm-generic/socket.h; Python 3.11 has no name for it


class Running(msgspec.Struct):
    """An agent's process. told: what it has said on stderr before it answered."""

    process: subprocess.Popen[str]
    folder: Path
    port: int
    told: list[str]

    def ask(self, send: bytes = b"") -> str:
        return ask(self.port, send)

    def order(self, do: Do, **more: object) -> Said:
        said = ask_agent(str(self.folder / "s"), Ask(do=do, service="app", **more), LONG_S)  # type: ignore[arg-type]
        assert not said.error
        return said

    def pause(self) -> None:
        """Stops it, until SIGCONT."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)  # all its threads have

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LONG_S)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def write(folder: Path, port: int = 0, agent: str = "", app: str = "") -> list[str]:
    """Writes agent.toml; the words that run it."""
    (folder / "agent.toml").write_text(
        f'[agent]\nlisten = ["127.0.0.1:{port}"]\nsocket = "{folder}/s"\nstate_dir = "{folder}/state"\n{agent}\n'
        f"[service.app]\n{app}\n"
    )
    return [sys.executable, "-m", "risefall", "agent", "-f", str(folder / "agent.toml")]


@contextlib.contextmanager
def running(
    folder: Path, port: int = 0, *, agent: str = "", app: str = "", before: tuple[str, ...] = (), **environment: str
) -> Iterator[Running]:
    """An agent that answers; it is gone afterwards, whatever happens. before: words in front of it."""
    words = [*before, *write(folder, port, agent, app)]
    env = {**os.environ, **environment}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stderr is not None
            told = []
            while not told or "answering on" not in told[-1]:
                told.append(process.stderr.readline())
                assert told[-1], told
            one = Running(process, folder, int(told[-1].rpartition(":")[2]), told)
            if not app:  # it answers before it has read its first numbers, and says none of them then
                until(lambda: "%" in one.order(Do.SHOW).services[0].standing.line)
            yield one
        finally:
            process.kill()


def ask(port: int, send: bytes = b"") -> str:
    """The answer; nothing for a reset, or where nobody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as stream:
        stream.sendall(send)
        return stream.makefile("rb").read().decode()
    return ""


def until(good: Callable[[], bool], what: object = "") -> None:
    deadline = time.monotonic() + LONG_S
    while not good():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_the_manager_is_told_and_a_stop_drains_for_as_long_as_asked(folder: Path) -> None:
    """READY once it answers; at SIGTERM STOPPING, `drain` for as long as is asked, then the end with exit code 0."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "n"))
        manager.settimeout(LONG_S)
        asked_s = 1.5
        with running(folder, agent=f"shutdown_for = {asked_s * 1000:.0f}", NOTIFY_SOCKET=str(folder / "n")) as one:
            assert manager.recv(4096).decode().splitlines() == ["READY=1", f"STATUS=answering on 127.0.0.1:{one.port}"]
            assert one.ask() == "up 100%\n"
            began = time.monotonic()
            one.process.send_signal(signal.SIGTERM)
            assert manager.recv(4096).decode().splitlines()[0] == "STOPPING=1"
            assert one.ask() == "up drain 100% #agent stops\n"
            heard = 0
            while line := one.ask():
                assert line == "up drain 100% #agent stops\n"
                heard += 1
            assert heard
            assert one.process.wait(LONG_S) == 0
            assert time.monotonic() - began >= asked_s  # no sooner; how much later is the machine's matter


def test_the_last_word_may_be_down_and_a_second_signal_ends_it_at_once(folder: Path) -> None:
    with running(folder, agent='shutdown = "down"\nshutdown_for = "10m"') as one:
        one.process.send_signal(signal.SIGTERM)
        until(lambda: one.ask() == "down 100% #agent stops\n")
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(LONG_S) == 0
        assert not (folder / "s").exists()


def test_without_a_word_to_say_it_goes_at_once(folder: Path) -> None:
    with running(folder) as one:
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(LONG_S) == 0


def test_news_of_a_connection_that_went_is_not_taken_for_its_successors(folder: Path) -> None:
    """In one turn a source's next connection comes, for which its oldest one gives up its place, and that one's close is told."""
    with running(folder, agent='connections_per_source = 1\nsend_wait = "10s"') as one:
        with socket.create_connection(("127.0.0.1", one.port), timeout=LONG_S) as old:
            old.sendall(b"app\n")
            assert old.makefile("rb").read() == b"up 100%\n"
            one.pause()
            new = socket.create_connection(("127.0.0.1", one.port), timeout=LONG_S)
        one.process.send_signal(signal.SIGCONT)
        with new:
            new.sendall(b"app\n")
            assert new.makefile("rb").read() == b"up 100%\n"


def come(port: int, source: str) -> socket.socket:
    """A connection from an address of loopback, whose bytes are stamped as they come."""
    stream = socket.socket()
    stream.settimeout(LONG_S)
    stream.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    stream.bind((source, 0))
    stream.connect(("127.0.0.1", port))
    return stream


def answered_ns(stream: socket.socket) -> int:
    """When the kernel got the answer; 0 for a moment after the first socket has asked for stamps."""
    said, ancillary, _, _ = stream.recvmsg(100, 100)
    assert said == b"up 100%\n"
    if not ancillary:
        return 0
    seconds, rest_ns = struct.unpack("ll", ancillary[0][2])
    return seconds * 10**9 + rest_ns


def test_who_has_little_open_is_answered_before_a_crowd_that_came_earlier(folder: Path) -> None:
    with contextlib.ExitStack() as held, running(folder) as one:
        for _ in range(20):
            answered_ns(held.enter_context(come(one.port, "127.0.1.1")))
        until(lambda: answered_ns(held.enter_context(come(one.port, "127.0.1.2"))) > 0)
        one.pause()
        crowd = [held.enter_context(come(one.port, "127.0.1.1")) for _ in range(20)]
        alone = held.enter_context(come(one.port, "127.0.1.3"))
        one.process.send_signal(signal.SIGCONT)
        assert 0 < answered_ns(alone) < min(map(answered_ns, crowd))


def kept(folder: Path) -> list[Kept]:
    """Whom the file knows to be owed a `ready`."""
    with contextlib.suppress(FileNotFoundError):
        return [
            one for one in msgspec.json.decode((folder / "state/told.json").read_bytes(), type=list[Kept]) if one.owed
        ]
    return []


def test_killed_at_any_moment_it_knows_its_orders_and_whom_it_has_told(folder: Path) -> None:
    """SIGKILL, again and again: an order that was acknowledged stands, files are whole, and the drain is taken back once."""
    dice = random.Random(7)
    port, weight = 0, 100
    for turn in range(KILLS):
        with running(folder, port) as one:
            port = one.port
            assert not [line for line in one.told if "warning" in line]
            if turn == 0:
                one.order(Do.DRAIN, reason="deploy 41")
                assert one.ask() == "up drain 100% #deploy 41\n"
                until(lambda: bool(kept(folder)))
            else:
                assert one.ask() == f"up drain {weight}% #deploy 41\n"
            for _ in range(dice.randrange(4)):
                weight = dice.randrange(1, 100)
                one.order(Do.WEIGHT, weight_pct=weight)
            one.kill()
    with running(folder, port) as one:
        assert one.order(Do.SHOW).services[0].orders[0].reason == "deploy 41"
        one.order(Do.RELEASE)
        assert one.ask() == "up ready 100%\n"
        assert one.ask() == "up 100%\n"
        until(lambda: not kept(folder))
        one.kill()
    with running(folder, port) as one:
        assert one.ask() == "up 100%\n"
    assert not list((folder / "state").glob("*.bad"))


def test_killed_right_after_an_order_it_drains_again_and_takes_that_back(folder: Path) -> None:
    """Nobody waits for a file here: the order is there before it is acknowledged, its end too."""
    with running(folder) as one:
        port = one.port
        one.order(Do.DRAIN, reason="deploy 42")
        assert one.ask() == "up drain 100% #deploy 42\n"
        one.kill()
    with running(folder, port) as one:
        assert one.ask() == "up drain 100% #deploy 42\n"
        one.order(Do.RELEASE)
        one.kill()
    with running(folder, port) as one:
        assert not one.order(Do.SHOW).services[0].orders


def second(folder: Path, port: int, **more: str) -> str:
    """Starts another agent, which must end by itself with exit code 3; what it said."""
    words = write(folder, port, **more)
    done = subprocess.run(words, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_two_agents_never_share_a_port_a_socket_or_a_folder(folder: Path) -> None:
    """The second one says what is taken; the first one's files, socket and answers stay as they are."""
    other = folder / "other"
    other.mkdir()
    with running(folder) as one:
        said = second(other, one.port)
        assert (
            f"cannot listen on 127.0.0.1:{one.port}: Address already in use; another agent may be running there" in said
        )
        assert f"{folder}/state: another agent keeps its orders there" in second(folder, 0)
        assert "127.0.0.1:" in second(other, 0, agent=f'http = "127.0.0.1:{one.port}"')
        (other / "s").symlink_to(folder / "s")
        second(other, 0)
        one.order(Do.DRAIN)
        assert one.ask().startswith("up drain")


def test_it_needs_no_privilege_and_no_shell(folder: Path) -> None:
    """Without any capability, nor a way to get one, and where no program can be found by its name."""
    app = '[[service.app.signal]]\nkind = "cpu"\n[[service.app.signal]]\nkind = "command"\nrun = ["/bin/echo", "7; $(id)"]\n'
    app += 'of = "number"\nmissing = "ignore"\n'
    before = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--")
    with running(folder, app=app, before=before, PATH="/usr/bin:/bin", SHELL="/bin/false") as one:
        status = Path(f"/proc/{one.process.pid}/status").read_text()
        assert [line.split()[1] for line in status.splitlines() if line.startswith("CapEff")] == ["0" * 16]
        until(lambda: one.ask() == "up 100%\n")
        seen = {signal.name: signal for signal in one.order(Do.SHOW).services[0].signals}
        assert seen["cpu"].value is not None
        assert seen["command"].failure == "'7;' is no number", "a shell would have taken the ; away"


def test_every_error_of_a_file_is_told_and_ends_with_2(folder: Path) -> None:
    write(folder, app='smoth = "5s"\n[[service.app.signal]]\nkind = "cpuu"\n[[service.app.state]]\nsay = "dwn"')
    code, out, err = risefall("agent", "-f", str(folder / "agent.toml"))
    assert (code, out) == (2, "")
    for text in (
        "agent.toml:7:",
        "did you mean 'smooth'?",
        "did you mean 'cpu'?",
        "did you mean 'down'?",
        "'op' is missing",
    ):
        assert text in err, (text, err)


def test_a_stuck_disk_and_a_hung_command_hold_up_nobody(folder: Path) -> None:
    """A FIFO that nobody writes holds its reader as a dead disk does; what can still be read goes on, and old is said so."""
    os.mkfifo(folder / "fifo")
    (folder / "n").write_text("1\n")
    app = (
        'stale = "1s"\n'
        f'[[service.app.signal]]\nkind = "file"\npath = "{folder}/fifo"\nof = "number"\nevery = "100ms"\ntimeout = "100ms"\n'
        'missing = "ignore"\n'
        '[[service.app.signal]]\nkind = "command"\nrun = ["/bin/sleep", "1000"]\nevery = "100ms"\ntimeout = "100ms"\n'
        'missing = "ignore"\n'
        f'[[service.app.signal]]\nkind = "file"\nname = "n"\npath = "{folder}/n"\nof = "number"\nevery = "100ms"\n'
        'timeout = "100ms"\n[[service.app.state]]\nsay = "drain"\nsignal = "n"\nop = "=="\nvalue = 2\nreason = "two"\n'
    )
    with running(folder, app=app) as one:
        until(lambda: one.ask() == "up 100%\n")
        (folder / "new").write_text("2\n")
        (folder / "new").rename(folder / "n")
        until(lambda: one.ask() == "up drain 100% #two\n")
        (folder / "n").unlink()
        until(lambda: one.ask() == "down drain #stale\n")
        assert children(one.process.pid) <= 1, "hung commands are ended"
        one.process.send_signal(signal.SIGTERM)  # a thread that hangs does not keep it
        assert one.process.wait(LONG_S) == 0


def children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) + sum(
        len(path.read_text().split())
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        if path.parent.name != str(pid)
    )


CLIENT = """
import socket, sys
port, done = int(sys.argv[1]), int(sys.argv[2])
heard = []
while len(heard) < 50 or b"stale" not in heard[-1]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
        heard.append(stream.makefile("rb").read())
import os
os.write(done, b"." if heard[0] == b"up 100%\\n" else b"!")
"""


def test_a_python_that_hangs_delays_no_answer_and_lets_none_grow_old() -> None:
    """This process holds the GIL, as the longest of garbage collections would, until a client has heard fifty answers from it."""
    with Answerer() as answerer, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        reads, writes = os.pipe()
        words = [sys.executable, "-c", CLIENT, str(port), str(writes)]
        answerer.say(
            0, Lines(b"up 100%", b"up 100%", b"down #stale"), good_until_ns=time.monotonic_ns() + int(LONG_S * 1e9)
        )
        with subprocess.Popen(words, pass_fds=[writes]) as client:
            os.close(writes)  # should the client die, the read below ends
            answerer.listen(listener.dup(), [0], 0, by_text=False)
            answerer.say(
                0, Lines(b"up 100%", b"up 100%", b"down #stale"), good_until_ns=time.monotonic_ns() + 1_500_000_000
            )
            byte = ctypes.create_string_buffer(1)
            count = ctypes.PyDLL(None).read(reads, byte, 1)
        os.close(reads)
        assert (count, byte.raw, client.returncode) == (1, b".", 0)
