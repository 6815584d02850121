"""Small files that outlive the agent: written whole or not at all, and one that is broken never stops a start."""

from __future__ import annotations

import os
from typing import TypeVar

import msgspec

Kept = TypeVar("Kept")
BYTES_MAX = 16 << 20


def read_kept(path: str, kind: type[Kept]) -> tuple[Kept | None, str]:
    """What a file holds, None without one; and a warning. A broken file is put aside as `<path>.bad`.

    Raises: OSError when there is a file that cannot be read: what it holds may matter.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(BYTES_MAX)
    except FileNotFoundError:
        return None, ""
    try:
        return msgspec.json.decode(data, type=kind), ""
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        os.replace(path, path + ".bad")
        return None, f"{path} cannot be understood ({error}); it is now {path}.bad, and what it held is forgotten"


def write_kept(path: str, value: object) -> None:
    """Puts a value into a file, so that a crash at any point leaves the old one or the new one. May block on the disk."""
    beside = f"{path}.{os.getpid()}.new"
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(value), indent=1))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
