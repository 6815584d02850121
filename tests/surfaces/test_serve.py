"""The runtime API on a real UNIX socket. Deadlines that must pass run on a clock that jumps; the rest on the real one."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import stat
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from surfaces_kit import FakeApi

from risefall.errors import StartError
from risefall.surfaces import serve as module
from risefall.surfaces.calls import Level
from risefall.surfaces.serve import bind, remove_stale, serve

Story = Callable[[str], Awaitable[None]]


def run(path: Path, story: Story, *, virtual: bool = False, timeout_s: float = 10.0, clients_max: int = 64) -> None:
    """Serves while a story lasts; fails where it takes longer than any should."""

    async def main() -> None:
        with trio.fail_after(3600 if virtual else 30):
            async with trio.open_nursery() as nursery:
                await nursery.start(start)
                await story(str(path))
                nursery.cancel_scope.cancel()

    async def start(task_status: trio.TaskStatus[None]) -> None:
        await serve(
            str(path),
            FakeApi(),
            level=Level.ADMIN,
            timeout_s=timeout_s,
            clients_max=clients_max,
            task_status=task_status,
        )

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05) if virtual else None)


async def read_to_end(client: trio.SocketStream) -> bytes:
    return b"".join([piece async for piece in client])


async def ask(path: str, commands: bytes) -> bytes:
    async with await trio.open_unix_socket(path) as client:
        await client.send_all(commands)
        return await read_to_end(client)


def test_a_client_is_answered_and_let_go(tmp_path: Path) -> None:
    async def story(path: str) -> None:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert await ask(path, b"get weight b1/s2\n") == b"5 (initial 5)\n\n"
        assert await ask(path, b"show stat\n") == await ask(path, b"show stat\n")

    run(tmp_path / "sock", story)
    assert not (tmp_path / "sock").exists()


def test_a_session_with_a_prompt(tmp_path: Path) -> None:
    async def story(path: str) -> None:
        async with await trio.open_unix_socket(path) as client:
            for command, answer in ((b"prompt\n", b"\n> "), (b"get weight b1/s2\n", b"5 (initial 5)\n\n> ")):
                await client.send_all(command)
                got = b""
                while len(got) < len(answer):
                    got += await client.receive_some()
                assert got == answer
            await client.send_all(b"quit\n")
            assert await read_to_end(client) == b""

    run(tmp_path / "sock", story)


def test_a_client_that_leaves_early_harms_nobody(tmp_path: Path) -> None:
    async def story(path: str) -> None:
        for commands in (b"", b"get wei", b"show stat\n" * 50, b"prompt\nshow info\n"):
            async with await trio.open_unix_socket(path) as client:
                await client.send_all(commands)
        assert await ask(path, b"get weight b1/s2\n") == b"5 (initial 5)\n\n"

    run(tmp_path / "sock", story)


def test_a_silent_client_is_let_go_after_the_timeout(tmp_path: Path) -> None:
    async def story(path: str) -> None:
        async with await trio.open_unix_socket(path) as client:
            started = trio.current_time()
            await client.send_all(b"prompt\n")
            assert await read_to_end(client) == b"\n> "
            assert trio.current_time() - started == pytest.approx(7.0)

    run(tmp_path / "sock", story, virtual=True, timeout_s=7.0)


def test_a_client_that_takes_nothing_is_let_go(tmp_path: Path) -> None:
    """Its answer is larger than what a socket holds."""

    async def story(path: str) -> None:
        async with await trio.open_unix_socket(path) as client:
            await client.send_all(b"prompt\n" + b"show stat\n" * 1000)
            await trio.sleep(21.0)  # of the clock that jumps
            got = b""
            with trio.fail_after(5):
                with suppress(trio.BrokenResourceError):
                    got = await read_to_end(client)
            assert len(got) < 1_000_000

    run(tmp_path / "sock", story, virtual=True, timeout_s=7.0)


def test_no_more_clients_than_there_are_places(tmp_path: Path) -> None:
    """The next one waits until a place is free."""

    async def story(path: str) -> None:
        first, second = await trio.open_unix_socket(path), await trio.open_unix_socket(path)
        async with first, second:
            for client in (first, second):
                await client.send_all(b"prompt\n")
                assert await client.receive_some() == b"\n> "
            third = await trio.open_unix_socket(path)
            await third.send_all(b"get weight b1/s2\n")
            await trio.testing.wait_all_tasks_blocked()
            assert select.select([third.socket.fileno()], [], [], 0) == ([], [], [])
            await first.send_all(b"quit\n")
            assert await read_to_end(third) == b"5 (initial 5)\n\n"

    run(tmp_path / "sock", story, clients_max=2)


def test_clients_are_closed_at_the_end(tmp_path: Path) -> None:
    clients = []

    async def story(path: str) -> None:
        client = await trio.open_unix_socket(path)
        await client.send_all(b"prompt\n")
        assert await client.receive_some() == b"\n> "
        clients.append(socket.socket(fileno=os.dup(client.socket.fileno())))
        await client.aclose()

    run(tmp_path / "sock", story)
    with clients[0] as left:
        left.setblocking(True)
        assert left.recv(99) == b""


class Scarce:
    """A listener whose system is short of something for a while."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)

    async def accept(self) -> tuple[str, None]:
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise OSError(self.errors.pop(0), "no room")
        return "client", None


def test_a_shortage_of_descriptors_is_waited_out() -> None:
    """The client stays in the backlog meanwhile; any other error ends the service."""

    async def main() -> None:
        scarce = Scarce(errno.EMFILE, errno.ENFILE, errno.ENOBUFS)
        assert await module.accept(scarce) == "client"  # type: ignore[arg-type, comparison-overlap]
        assert trio.current_time() - started == pytest.approx(3 * module.PAUSE_S)
        with pytest.raises(OSError, match="no room"):
            await module.accept(Scarce(errno.EBADF))  # type: ignore[arg-type]

    clock = trio.testing.MockClock(autojump_threshold=0)
    started = clock.current_time()
    trio.run(main, clock=clock)


# --- the path -------------------------------------------------------------------------------------


def test_a_stale_socket_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with bind(str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_that_is_served_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with bind(path), pytest.raises(StartError, match=f"{path}: another process serves this socket; stop it or"):
        bind(path)
    assert os.path.exists(path)


def test_a_full_backlog_is_a_sign_of_life(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as one:
        listener.bind(path)
        listener.listen(0)
        one.connect(path)
        with pytest.raises(StartError, match="another process serves"):
            remove_stale(path)


def test_one_that_is_about_to_listen_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound and not listening yet, it looks stale; whoever comes meanwhile waits, and finds it served."""
    path = str(tmp_path / "sock")
    monkeypatch.setattr(module, "LOCK_PAUSE_S", 0.0)
    found: list[object] = []
    chmod = os.chmod

    def second(path: str, mode: int) -> None:
        chmod(path, mode)
        looking = threading.Thread(target=look)
        waits = monkeypatch.context()
        with waits as patch:
            tried = threading.Event()
            patch.setattr(module.time, "sleep", lambda _: tried.set())
            patch.setattr(module, "LOCK_TRIES", 10**9)
            looking.start()
            assert tried.wait(30)
        threads.append(looking)

    def look() -> None:
        try:
            bind(path)
        except StartError as error:
            found.append(error)

    threads: list[threading.Thread] = []
    monkeypatch.setattr(module.os, "chmod", second)
    with bind(path):
        threads[0].join(30)
    assert [str(one) for one in found] == [
        f"{path}: another process serves this socket; stop it or choose another path"
    ]


def test_a_lock_that_cannot_be_had_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_PAUSE_S", 0.0)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with bind(str(tmp_path / "sock")):
        os.close(folder)


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    path.write_text("mine")
    with pytest.raises(StartError, match="is there and is no socket; move it away or choose another path"):
        bind(str(path))
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["no/such/folder", "x" * 120])
def test_a_path_that_cannot_be_bound(tmp_path: Path, name: str) -> None:
    with pytest.raises(StartError, match=r"cannot listen here: .*; check that its folder exists and is writable"):
        bind(str(tmp_path / name))


def test_a_failure_after_binding_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(module.os, "chmod", refuse)
    with pytest.raises(StartError, match="Operation not permitted"):
        bind(str(tmp_path / "sock"))
    assert not (tmp_path / "sock").exists()


def test_a_path_that_is_somebody_elses_by_now_stays(tmp_path: Path) -> None:
    async def story(path: str) -> None:
        os.rename(path, f"{path}.old")
        Path(path).write_text("theirs")

    run(tmp_path / "sock", story)
    assert (tmp_path / "sock").read_text() == "theirs"
