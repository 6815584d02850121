"""What this machine says of tracked files, processes and interfaces, and when to look again.

Files are watched through inotify on their folders, as keepalived does: a file counts when its writer has closed it, when it is
renamed or deleted. Interfaces: the kernel's notes of links and addresses say when, an ioctl says what. Processes are counted in
/proc so often; keepalived hears of each from the kernel, which works in the first network namespace and as root only.
Source: spec/keepalived-track.md §2.2-§2.4; inotify(7), rtnetlink(7), netdevice(7).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress

import trio

from risefall.config.keepalived.model import Process, TrackFile
from risefall.vrrp.processes import Parameters, matches
from risefall.vrrp.trackers import FILE_BYTES

_EVENT = struct.Struct("iIII")
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _DELETE = 0x8, 0x40, 0x80, 0x200
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _DELETE
_NOTES_BYTES = 65536
_RTMGRP = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR."""
_SIOCGIFFLAGS, _SIOCGIFADDR = 0x8913, 0x8915
_UP_RUNNING = 0x1 | 0x40
PROCESSES_S = 0.5


def read_start(path: str) -> bytes | None:
    """As much of a track file as keepalived looks at; None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(FILE_BYTES)
    except OSError:
        return None


def own_address(address: str, interface: str) -> bool:
    """Whether this machine has an address, so that a socket can be bound to it. interface: of a link-local one."""
    plain = address.partition("/")[0]
    family = socket.AF_INET6 if ":" in plain else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as tried:
            scope = (
                socket.if_nametoindex(interface)
                if family == socket.AF_INET6 and plain.lower().startswith("fe80")
                else 0
            )
            tried.bind((plain, 0, 0, scope) if family == socket.AF_INET6 else (plain, 0))
    except OSError:  # also on a machine without IPv6
        return False
    return True


def due_to_init(file: TrackFile) -> bool:
    """Whether keepalived writes `init_file`'s value when it starts."""
    return file.init is not None and (file.overwrite or not os.path.lexists(file.path))


def write_init(file: TrackFile, umask: int) -> None:
    """As keepalived: a new file, also in place of an old one. Raises: OSError."""
    with suppress(FileNotFoundError):
        os.unlink(file.path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(file.path, flags, 0o666 & ~umask), "w", encoding="ascii") as out:
        out.write(f"{file.init}\n")


class Files:
    """Changes of some files. A folder that is not there is not watched, as keepalived does not; `blind` names such files."""

    def __init__(self, paths: Iterable[str]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._paths: dict[tuple[int, bytes], str] = {}
        self.blind: list[str] = []
        for path in paths:
            folder, name = os.path.split(os.path.abspath(path))
            watch = libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK)
            if watch < 0:
                self.blind.append(path)
            else:
                self._paths[watch, os.fsencode(name)] = path

    async def changed(self) -> set[str]:
        """Waits for the next changes; the paths that changed."""
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            found = {path for key in self._notes() if (path := self._paths.get(key))}
            if found:
                return found

    def _notes(self) -> list[tuple[int, bytes]]:
        notes: list[tuple[int, bytes]] = []
        with suppress(BlockingIOError):
            data = os.read(self._fd, _NOTES_BYTES)
            at = 0
            while at + _EVENT.size <= len(data):
                watch, _, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                notes.append((watch, data[at : at + length].rstrip(b"\0")))
                at += length
        return notes

    def close(self) -> None:
        os.close(self._fd)


class Links:
    """Interfaces of the network namespace that we are in."""

    def __init__(self) -> None:
        self._notes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._notes.bind((0, _RTMGRP))
        self._asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    async def changed(self) -> None:
        """Waits until the kernel tells of any link or address."""
        await trio.lowlevel.wait_readable(self._notes)
        with suppress(BlockingIOError, OSError):  # ENOBUFS: notes were lost, so look
            while self._notes.recv(_NOTES_BYTES):
                pass

    def exists(self, name: str) -> bool:
        return self._flags(name) is not None

    def up(self, name: str) -> bool:
        """IFF_UP and IFF_RUNNING."""
        flags = self._flags(name)
        return flags is not None and flags & _UP_RUNNING == _UP_RUNNING

    def _flags(self, name: str) -> int | None:
        try:
            answer = fcntl.ioctl(self._asked, _SIOCGIFFLAGS, struct.pack("16sH14x", name.encode()[:15], 0))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return int(struct.unpack("16sH14x", answer)[1])

    def address(self, name: str, family: int) -> str | None:
        """The primary address, of IPv6 the link-local one; None when there is none."""
        if family == 6:
            return self._address6(name)
        try:
            answer = fcntl.ioctl(self._asked, _SIOCGIFADDR, struct.pack("16s16x", name.encode()[:15]))
        except OSError:
            return None
        return socket.inet_ntoa(answer[20:24])

    @staticmethod
    def _address6(name: str) -> str | None:
        with suppress(OSError), open("/proc/self/net/if_inet6") as table:
            for line in table:
                words = line.split()
                address = ipaddress.IPv6Address(bytes.fromhex(words[0]))
                if words[5] == name and address.is_link_local:
                    return str(address)
        return None

    def close(self) -> None:
        self._notes.close()
        self._asked.close()


def count_processes(wanted: Sequence[Process], root: str = "/proc") -> dict[str, int]:
    """How many processes each tracker counts now; zombies are not processes."""
    counts = {one.name: 0 for one in wanted}
    for pid in os.listdir(root) if wanted else ():
        if not pid.isdigit():
            continue
        try:
            with open(f"{root}/{pid}/stat", "rb") as file:
                stat = file.read()
            comm, state = stat[stat.index(b"(") + 1 : stat.rindex(b")")], stat[stat.rindex(b")") + 2 :][:1]
            if state in b"ZX":
                continue
            with open(f"{root}/{pid}/cmdline", "rb") as file:
                line = file.read()
        except (OSError, ValueError):
            continue  # it ended meanwhile
        argv = [word.decode("utf-8", "surrogateescape") for word in line.split(b"\0")[:-1]]
        for one in wanted:
            how = Parameters(one.match.value)
            name = comm.decode("utf-8", "surrogateescape")
            if matches(one.path, one.arguments, how, full_command=one.full_command, comm=name, argv=argv):
                counts[one.name] += 1
    return counts
