"""One command, run without a shell, in a process group that is ended with it; its output bounded. Blocks: for a thread."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence

import msgspec

OUTPUT_BYTES_MAX = 65536
DRAIN_S = 0.05
"""How long the output is still read after the command itself has ended: a child of it may hold the pipe for ever."""
TICK_S = 0.02


class Ended(msgspec.Struct, frozen=True):
    """How a command ended. code: of its exit, or minus the signal; output: the beginning of its stdout."""

    code: int
    output: bytes


def run_command(words: Sequence[str], timeout_s: float) -> Ended:
    """Runs a command to its end. Raises OSError when it cannot start, TimeoutError when it takes too long."""
    deadline = time.monotonic() + timeout_s
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    assert process.stdout is not None
    with process.stdout as pipe:
        try:
            output = gather(process, pipe.fileno(), deadline)
            if not has_ended(process.pid):
                raise TimeoutError(f"'{words[0]}' did not end within {timeout_s:g} s")
        finally:
            code = end_group(process)
    return Ended(code, output)


def has_ended(pid: int) -> bool:
    """Whether a child has ended, without taking its exit code: so its number, and its group's, stay its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def gather(process: subprocess.Popen[bytes], pipe: int, deadline: float) -> bytes:
    """Reads what a command prints until it ends or its time does; what is more than is kept is thrown away."""
    output = b""
    open_pipe = True
    while (now := time.monotonic()) < deadline:
        if has_ended(process.pid):
            deadline = min(deadline, now + DRAIN_S)
            if not open_pipe:
                break
        wait = min(TICK_S, deadline - now)
        readable, _, _ = select.select([pipe] if open_pipe else [], [], [], wait)
        if readable:
            piece = os.read(pipe, 65536)
            open_pipe = bool(piece)
            output = (output + piece)[:OUTPUT_BYTES_MAX]
    return output


def end_group(process: subprocess.Popen[bytes]) -> int:
    """Ends what is left of a command's process group while its number is still taken; returns the command's exit code."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
