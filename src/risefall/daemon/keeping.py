"""The state file: what of a run outlives it, so that nothing flaps because the prober was restarted.

It is written at the end, and while it runs whenever there was news, at most every few seconds: encoded in slices, so that
news and clients do not wait, and written by a thread into a new file that takes the old one's place in one step. So a
SIGKILL at any instant costs the news of seconds, and never the ability to start. A file that cannot be used is told, put
aside and otherwise left alone. Source: spec/haproxy-checks.md §1.11.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
import trio

from risefall.config.text import encodable
from risefall.daemon.join import Join, now_ms
from risefall.state.carrying import carry
from risefall.state.remembering import (
    KeptProxy,
    KeptServer,
    ProxyKey,
    keep_proxy,
    keep_server,
    recall_proxy,
    recall_server,
)
from risefall.state.server import AGENT, ProxyState, ServerState

MAGIC = b"risefall state 1\n"
NAME, LOCK, ASIDE = "run.state", "run.lock", "run.state.unused"
DIGEST_BYTES = 16
EVERY_S = 5.0
SHARE = 20
"""Encoding and writing take at most one part in so many of the time."""
SLICE = 500
AGE_MAX_S = 24 * 3600.0
"""An older file tells of another day: hands, addresses and servers have changed since."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    """When it was written (wall clock), by which version, and how much follows."""

    wall_ms: int
    version: str
    proxies: int


class Unusable(Exception):
    """Why a state file is of no use."""


Kept = dict[ProxyKey, tuple[KeptProxy, dict[str, KeptServer]]]
Part = tuple[KeptProxy, list[KeptServer]]


def encode(head: Head, parts: Sequence[bytes]) -> bytes:
    """The whole file. parts: a `Part` each."""
    pieces = [msgspec.msgpack.encode(head), *parts]
    body = b"".join(len(piece).to_bytes(4) + piece for piece in pieces)
    return MAGIC + hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest() + body


def decode(data: bytes, wall_ms: int) -> tuple[int, Kept]:
    """How long ago it was written, in ms, and what is in it. Raises: Unusable."""
    if not data.startswith(MAGIC):
        raise Unusable("is no state file of this version of risefall")
    at = len(MAGIC) + DIGEST_BYTES
    digest, body = data[len(MAGIC) : at], memoryview(data)[at:]
    if hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest() != digest:
        raise Unusable("is cut or damaged")
    pieces = []
    while body:
        end = 4 + int.from_bytes(body[:4])
        pieces.append(body[4:end])
        body = body[end:]
    try:
        head = msgspec.msgpack.decode(pieces[0], type=Head)
        decoder = msgspec.msgpack.Decoder(Part)
        kept: Kept = {}
        for piece in pieces[1:]:
            proxy, servers = decoder.decode(piece)
            kept[proxy.kind, proxy.name] = proxy, {server.name: server for server in servers}
    except (msgspec.MsgspecError, ValueError, IndexError) as error:
        raise Unusable(f"does not say what it should: {error}") from error
    away_ms = wall_ms - head.wall_ms
    if away_ms > AGE_MAX_S * 1000:
        raise Unusable(f"is {away_ms / 3_600_000:.0f} hours old")
    return max(0, away_ms), kept


def restore(
    kept: Kept, away_ms: int, keys: Sequence[ProxyKey], proxies: Sequence[ProxyState], servers: Sequence[ServerState],
    follows: frozenset[int],
) -> list[int]:  # fmt: skip
    """Gives proxies and servers, as the file has them, what was kept. Returns the places of servers that were known."""
    now, found = now_ms(), []
    for (kind, name), proxy in zip(keys, proxies, strict=True):
        part = kept.get((encodable(kind), encodable(name)))
        if part is None:
            continue
        recall_proxy(part[0], proxy, now, away_ms)
        for index in proxy.own:
            was = part[1].get(encodable(servers[index].name))
            if was is None or proxy.disabled:
                continue
            try:
                old = recall_server(was, now, away_ms)
            except ValueError:
                continue  # its digest was right: a version of ours wrote it, and knew more words
            carry(old, servers[index], follows=index in follows)
            found.append(index)
    return found


def usual_folder(environment: Mapping[str, str]) -> str:
    """$RISEFALL_STATE_DIR (`none` for nowhere), systemd's StateDirectory, else where such files of this user go; "" for nowhere."""
    if told := environment.get("RISEFALL_STATE_DIR"):
        return "" if told == "none" else told
    if environment.get("STATE_DIRECTORY"):
        return environment["STATE_DIRECTORY"].partition(":")[0]
    if os.geteuid() == 0:
        return "/var/lib/risefall"
    home = environment.get("XDG_STATE_HOME") or (
        f"{environment['HOME']}/.local/state" if environment.get("HOME") else ""
    )
    return f"{home}/risefall" if home else ""


class Keeper:
    """The state file of one run. `open` it first; without a folder it keeps nothing."""

    def __init__(self, folder: str, version: str, say: Callable[[str], None]) -> None:
        self._folder = Path(folder) if folder else None
        self._version = version
        self._say = say
        self._lock: IO[bytes] | None = None
        self._failed = ""

    @property
    def active(self) -> bool:
        """Whether anything is kept."""
        return self._lock is not None

    def open(self) -> None:
        """Takes the folder for this run; where that cannot be, the run goes on and keeps nothing, which is told."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self._folder / LOCK).open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                self._say(
                    f"{self._folder}: another risefall keeps its state there, so this one keeps none: --state-dir gives it "
                    "a folder of its own"
                )
                return
        except OSError as error:
            self._say(f"{self._folder}: no state is kept: {error.strerror}; --state-dir names another folder, or none")
            return
        self._lock = lock

    def close(self) -> None:
        """Idempotent."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def load(self) -> tuple[int, Kept] | None:
        """How long ago the last run ended, and what it kept; None for nothing. A file of no use is told and put aside."""
        if self._folder is None or not self.active:
            return None
        path = self._folder / NAME
        try:
            return decode(path.read_bytes(), time.time_ns() // 1_000_000)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say(f"{path}: cannot be read: {error.strerror}; every server starts anew")
        except Unusable as why:
            aside = self._folder / ASIDE
            with suppress(OSError):
                os.replace(path, aside)
            self._say(f"{path}: {why}; every server starts anew, and the file is {aside} now")
        return None

    def tell(self, kept: Kept, found: int) -> None:
        """What came of a file."""
        count = sum(len(servers) for _, servers in kept.values())
        if count and not found:
            self._say(f"{self._folder}: the state kept there is of another configuration; every server starts anew")

    async def run(self, news: Callable[[], int], join_of: Callable[[], Join]) -> None:
        """Writes whenever there was news, until cancelled."""
        seen, pause_s = news(), EVERY_S
        while self.active:
            await trio.sleep(pause_s)
            if (now := news()) == seen:
                continue
            seen = now
            begin = trio.current_time()
            await self._write(join_of())
            pause_s = max(EVERY_S, SHARE * (trio.current_time() - begin))

    async def _write(self, join: Join) -> None:
        parts = []
        for number in range(len(join.fleet.proxies)):
            parts.append(part_of(join, number))
            await trio.lowlevel.checkpoint()
        await trio.to_thread.run_sync(self._replace, parts)

    def write_now(self, join: Join) -> None:
        """At the end."""
        if self.active:
            self._replace([part_of(join, number) for number in range(len(join.fleet.proxies))])

    def _replace(self, parts: list[bytes]) -> None:
        assert self._folder is not None
        data = encode(Head(time.time_ns() // 1_000_000, self._version, len(parts)), parts)
        path = self._folder / NAME
        try:
            write_whole(path, data)
        except OSError as error:
            if self._failed != str(error):
                self._say(f"{path}: the state cannot be kept: {error.strerror}")
            self._failed = str(error)
        else:
            self._failed = ""


def part_of(join: Join, number: int) -> bytes:
    """One proxy and its servers, packed. Servers of `add server` are not kept: the file does not know them."""
    fleet, now = join.fleet, now_ms()
    proxy = fleet.proxies[number]

    def fails(index: int, which: int) -> int:
        server = fleet.servers[index]
        check = server.agent if which == AGENT else server.health
        record = join.record(index, which)
        assert check is not None
        return (record.fails if record is not None else 0) - check.fails_before

    servers = [
        msgspec.structs.replace(kept, name=encodable(kept.name))
        for index in proxy.own
        if not fleet.servers[index].dynamic and (kept := keep_server(fleet, index, fails, now))
    ]
    kept_proxy = keep_proxy(proxy, now)
    return msgspec.msgpack.encode((msgspec.structs.replace(kept_proxy, name=encodable(kept_proxy.name)), servers))


def write_whole(path: Path, data: bytes) -> None:
    """A file is the old one or the new one, whatever happens. Raises: OSError."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
