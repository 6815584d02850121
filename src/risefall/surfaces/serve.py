"""Serves the runtime API on a UNIX socket, or on any listening socket that is handed over.

A client that says nothing for the stats timeout, or takes nothing of its answer, is let go. While all places are taken, one
that comes takes the place of whoever has been there longest without a single command, so that connections that are only
opened keep nobody out; where there is none, it waits. No client has the loop for longer than a slice of its work. The path is ours from bind to the end: a socket that nobody listens on
any more is taken over, one that answers is left alone.
Source: spec/haproxy-checks.md §7.1; haproxy configuration manual 2.6 §3.1 stats socket, stats timeout.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import trio

from risefall.errors import StartError
from risefall.surfaces.calls import Api, Later, Level
from risefall.surfaces.runtime import LINE_MAX, Session

CLIENTS_MAX = 64
TIMEOUT_S = 10.0
"""`stats timeout` of HAProxy when nothing is said."""

BACKLOG = 1024
READ_BYTES = 16_384
WRITE_BYTES = 65_536
"""About as much of an answer is made before it is written; the deadline holds for each piece of it."""

LOOK_S = 1.0
"""How often a wait looks whether its client is still there."""

LOCK_TRIES, LOCK_PAUSE_S = 100, 0.01

SLICE_S = 0.002
"""How long answering one client may hold up the others: one line may hold thousands of commands."""

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE_S = 0.1
"""How long accepting rests when the system has no room for another client."""


def remove_stale(path: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    """Unlinks a UNIX socket that nobody serves; does nothing where there is none.

    Raises: StartError where somebody does, or where something else lies there.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise StartError(f"{path}: is there and is no socket; move it away or choose another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its queue is full, so somebody holds it
    raise StartError(f"{path}: another process serves this socket; stop it or choose another path")


@contextmanager
def only_one(path: str) -> Iterator[None]:
    """Keeps others of our kind from looking at a path meanwhile: between bind() and listen() a socket looks like a stale one.

    It is a lock on the folder, which ends with the process however that ends. Where there is none to be had (no right to
    read the folder, somebody else's lock), it is done without.
    """
    with ExitStack() as undo:
        with suppress(OSError):
            folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, folder)
            for _ in range(LOCK_TRIES):
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(LOCK_PAUSE_S)
        yield


def bind(path: str, mode: int = 0o600, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A listening socket on `path` that only `mode` may reach, from the first moment.

    Raises: StartError saying what to do.
    """
    try:
        with only_one(path), ExitStack() as undo:
            remove_stale(path, kind)
            listener = undo.enter_context(socket.socket(socket.AF_UNIX, kind))
            listener.bind(path)
            undo.callback(os.unlink, path)
            # Until listen() a connect is refused, so a moment with wider rights lets nobody in.
            os.chmod(path, mode)
            listener.listen(BACKLOG)
            undo.pop_all()
    except OSError as error:
        why = error.strerror or error
        raise StartError(f"{path}: cannot listen here: {why}; check that its folder exists and is writable") from error
    return listener


INHERITED = "fd@"


def inherited(name: str) -> int | None:
    """The descriptor that `fd@N` means; None for a path. Raises: StartError for `fd@` without a number."""
    if not name.startswith(INHERITED):
        return None
    digits = name.removeprefix(INHERITED)
    if not digits.isascii() or not digits.isdigit():
        raise StartError(f"{name}: no descriptor; write fd@3 for the one of that number")
    return int(digits)


def adopt(fd: int) -> socket.socket:
    """A listening socket that whoever started us has opened; its address, mode and end are theirs.

    Raises: StartError where it is none.
    """
    try:
        listener = socket.socket(fileno=fd)
    except OSError as error:
        raise StartError(f"fd@{fd}: {error.strerror or error}; is a listening socket handed over there?") from error
    listener.set_inheritable(False)
    if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()
        raise StartError(f"fd@{fd}: is no listening stream socket; a systemd socket unit says ListenStream=, Accept=no")
    return listener


async def serve(
    path: str,
    api: Api,
    *,
    level: Level = Level.OPERATOR,
    timeout_s: float = TIMEOUT_S,
    clients_max: int = CLIENTS_MAX,
    mode: int = 0o600,
    fault: Callable[[Exception], None] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answers clients until it is cancelled; tells `started()` once clients may come. Leaves no socket and no path.

    Args:
        path: where to listen; `fd@N` for a socket that is handed over, which stays where it is.
        timeout_s: how long a client may be silent, or leave its answer untaken.
        fault: takes a mistake of our own inside a command; the client is let go, the checks go on.
    Raises: StartError where the path cannot be served.
    """
    fd = inherited(path)
    opened = bind(path, mode) if fd is None else adopt(fd)
    mine = os.lstat(path) if fd is None else None
    try:
        await serve_on(
            opened, lambda: Session(api, level), timeout_s=timeout_s, clients_max=clients_max, fault=fault,
            task_status=task_status,
        )  # fmt: skip
    finally:
        if mine is not None:
            unlink_own(path, mine)


async def serve_on(
    opened: socket.socket,
    session: Callable[[], Session],
    *,
    timeout_s: float = TIMEOUT_S,
    clients_max: int = CLIENTS_MAX,
    fault: Callable[[Exception], None] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The same on a listening socket, which it closes. session: makes one for each client."""
    with trio.socket.from_stdlib_socket(opened) as listener:
        guests = Guests(clients_max)
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                client = await accept(listener)
                with ExitStack() as undo:
                    undo.callback(client.close)
                    await guests.take_place()
                    undo.pop_all()
                nursery.start_soon(_serve_client, client, session(), timeout_s, guests, fault)


def unlink_own(path: str, mine: os.stat_result) -> None:
    """Removes the path if it is still the one that was bound."""
    with suppress(OSError):
        if os.path.samestat(os.lstat(path), mine):
            os.unlink(path)


async def accept(listener: trio.socket.SocketType) -> trio.socket.SocketType:
    """The next client; waits out a shortage of descriptors or memory."""
    while True:
        try:
            client, _ = await listener.accept()
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            await trio.sleep(PAUSE_S)
        else:
            return client


def has_news(client: trio.socket.SocketType) -> bool:
    """Whether something has come that nobody has read yet, be it the end."""
    poll = select.poll()
    poll.register(client.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class Guests:
    """The places, and who has said nothing yet, oldest first."""

    def __init__(self, places: int) -> None:
        self._places = trio.Semaphore(places)
        self._silent: dict[trio.CancelScope, trio.socket.SocketType] = {}

    async def take_place(self) -> None:
        """Waits for a place; whoever has been silent for longest gives his up."""
        if not self._places.value:
            for scope, client in self._silent.items():
                if not has_news(client):
                    scope.cancel()
                    del self._silent[scope]
                    break
        await self._places.acquire()

    def leave(self) -> None:
        """A place is free again."""
        self._places.release()

    async def first_line(self, client: trio.socket.SocketType, timeout_s: float) -> bytes:
        """What a client sends up to its first line feed or more; b"" when it leaves, is let go, or takes too long."""
        data = b""
        with trio.move_on_after(timeout_s) as scope:
            self._silent[scope] = client
            try:
                while b"\n" not in data and len(data) <= LINE_MAX:
                    more = await client.recv(READ_BYTES)
                    if not more:
                        return b""
                    data += more
                    scope.deadline = trio.current_time() + timeout_s
            finally:
                self._silent.pop(scope, None)
        return b"" if scope.cancelled_caught else data


async def _serve_client(
    client: trio.socket.SocketType,
    session: Session,
    timeout_s: float,
    guests: Guests,
    fault: Callable[[Exception], None] | None,
) -> None:
    """One client to its end, whoever ends it."""
    try:
        with client, suppress(OSError):
            data = await guests.first_line(client, timeout_s)
            while data:
                await _answer(client, session.feed_pieces(data), timeout_s)
                if session.closed:
                    return
                data = b""
                with trio.move_on_after(session.timeout_s or timeout_s):
                    data = await client.recv(READ_BYTES)
    except trio.TooSlowError:
        pass
    except Exception as error:
        if fault is None:
            raise
        fault(error)
    finally:
        guests.leave()


def is_gone(client: trio.socket.SocketType) -> bool:
    """Whether the other end takes nothing any more. One that only says no more is still there."""
    poll = select.poll()
    poll.register(client.fileno(), 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


async def _pause(client: trio.socket.SocketType, seconds: float) -> None:
    """Waits for a client's sake. Raises: BrokenPipeError once it is gone."""
    ends = trio.current_time() + seconds
    while (left := ends - trio.current_time()) > 0:
        if is_gone(client):
            raise BrokenPipeError
        await trio.sleep(min(left, LOOK_S))


async def _answer(client: trio.socket.SocketType, pieces: Iterator[bytes | Later], timeout_s: float) -> None:
    """Writes an answer while it is made, so that a long one holds up neither memory nor the other tasks."""
    gathered = bytearray()
    slice_ends = trio.current_time() + SLICE_S
    for piece in pieces:
        if isinstance(piece, bytes):
            gathered += piece
        else:
            await _write(client, bytes(gathered), timeout_s)
            gathered[:] = (await piece(partial(_pause, client))).encode("utf-8", "surrogateescape")
        if len(gathered) >= WRITE_BYTES:
            await _write(client, bytes(gathered), timeout_s)
            gathered.clear()
        if trio.current_time() >= slice_ends:
            await trio.lowlevel.checkpoint()
            slice_ends = trio.current_time() + SLICE_S
    await _write(client, bytes(gathered), timeout_s)


async def _write(client: trio.socket.SocketType, data: bytes, timeout_s: float) -> None:
    """All of it. Raises: TooSlowError when the client takes nothing for `timeout_s`."""
    rest = memoryview(data)
    while rest:
        with trio.fail_after(timeout_s):
            sent = await client.send(rest)
        rest = rest[sent:]
