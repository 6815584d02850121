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
            if process.poll() is None:
                raise TimeoutError(f"'{words[0]}' did not end within {timeout_s:g} s")
            return Ended(process.returncode, output)
        finally:
            end_group(process)


def gather(process: subprocess.Popen[bytes], pipe: int, deadline: float) -> bytes:
    """Reads what a command prints until it ends or its time does; what is more than is kept is thrown away."""
    output = b""
    open_pipe = True
    while (now := time.monotonic()) < deadline:
        if process.poll() is not None:
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


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends whatever is left of a command's process group, and takes the command's exit code.

    The group bears the command's number, which is free again once the command was waited for and its group is empty;
    so nothing is sent to a group whose leader has gone and left nobody: killpg says so with ESRCH.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
