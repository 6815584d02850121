"""The state file: what of a run outlives it, so that nothing flaps because the prober was restarted.

It is written at the end, and while it runs whenever there was news, at most every few seconds: encoded in slices, so that
news and clients do not wait, and written by a thread into a new file that takes the old one's place in one step. So a
SIGKILL at any instant costs the news of seconds, and never the ability to start. A file that cannot be used is told, put
aside and otherwise left alone. Runs with different runtime sockets have different files. Source: spec/haproxy-checks.md §1.11.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
import trio

from risefall.config.text import encodable
from risefall.daemon.join import Join, now_ms
from risefall.state.carrying import carry, date, date_proxy, fit
from risefall.state.fleet import Fleet
from risefall.state.remembering import (
    KeptProxy,
    KeptServer,
    ProxyKey,
    Shown,
    keep_proxy,
    keep_server,
    recall_proxy,
    recall_server,
)
from risefall.state.server import AGENT, HEALTH, Op, ProxyState, ServerState
from risefall.status import Status
from risefall.surfaces.live import Figures
from risefall.surfaces.serve import inherited

MAGIC = b"risefall state 1\n"
STATE, NEW, LOCK, ASIDE = ".state", ".new", ".lock", ".state.unused"
DIGEST_BYTES = 16
EVERY_S = 5.0
SHARE = 20
"""Encoding and writing take at most one part in so many of the time."""
SLICE = 250
"""Servers that are encoded before other tasks get their turn."""
AGE_MAX_S = 24 * 3600.0
"""An older file tells of another day: hands, addresses and servers have changed since."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    """When it was written (wall clock), by which version, and how much follows."""

    wall_ms: int
    version: str
    parts: int


class Unusable(Exception):
    """Why a state file is of no use."""


Kept = dict[ProxyKey, tuple[KeptProxy, dict[str, KeptServer]]]
Part = tuple[KeptProxy, list[KeptServer]]
"""A proxy and some of its servers."""


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
            _, known = kept.setdefault((proxy.kind, proxy.name), (proxy, {}))
            known.update((server.name, server) for server in servers)
    except (msgspec.MsgspecError, ValueError, IndexError) as error:
        raise Unusable(f"does not say what it should: {error}") from error
    away_ms = wall_ms - head.wall_ms
    if away_ms > AGE_MAX_S * 1000:
        raise Unusable(f"is {away_ms / 3_600_000:.0f} hours old")
    return max(0, away_ms), kept


class Restored(msgspec.Struct):
    """Places of servers and proxies that were known, and whether they were DOWN."""

    servers: dict[int, bool] = {}
    proxies: dict[int, bool] = {}

    def date(self, fleet: Fleet) -> None:
        """What the file has made go DOWN or come UP has done so now. Once the fleet is settled."""
        now = now_ms()
        for index, stopped in self.servers.items():
            date(fleet.servers[index], now, was_stopped=stopped)
        for place, down in self.proxies.items():
            date_proxy(fleet.proxies[place], now, was_down=down)


def restore(
    kept: Kept, away_ms: int, keys: Sequence[ProxyKey], proxies: Sequence[ProxyState], servers: Sequence[ServerState],
    follows: frozenset[int],
) -> Restored:  # fmt: skip
    """Gives proxies and servers, as the file has them, what was kept."""
    now, found = now_ms(), Restored()
    for place, ((kind, name), proxy) in enumerate(zip(keys, proxies, strict=True)):
        part = kept.get((encodable(kind), encodable(name)))
        if part is None:
            continue
        recall_proxy(part[0], proxy, now, away_ms)
        found.proxies[place] = part[0].down
        for index in proxy.own:
            was = part[1].get(encodable(servers[index].name))
            if was is None or proxy.disabled:
                continue
            try:
                old = recall_server(was, now, away_ms)
            except ValueError:
                continue  # its digest was right: a version of ours wrote it, and knew more words
            carry(old, servers[index], follows=index in follows)
            fit(servers[index], proxy)
            found.servers[index] = old.op is Op.STOPPED
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


def file_name(socket_path: str) -> str:
    """What the files of a run begin with: its runtime socket's name, so that two runs beside each other keep a file each."""
    if not socket_path or inherited(socket_path) is not None:
        return "run"
    return Path(socket_path).stem or "run"


class Keeper:
    """The state file of one run. `open` it first; without a folder it keeps nothing."""

    def __init__(self, folder: str, name: str, version: str, say: Callable[[str], None]) -> None:
        """name: of the files, as `file_name` makes it."""
        self._folder = Path(folder) if folder else None
        self._name = name
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
            lock = self._path(LOCK).open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                self._say(
                    f"{self._path(STATE)}: another risefall keeps its state there, so this one keeps none: --state-dir gives "
                    "it a folder of its own"
                )
                return
        except OSError as error:
            self._say(f"{self._folder}: no state is kept: {error.strerror}; --state-dir names another folder, or none")
            return
        self._lock = lock

    def _path(self, suffix: str) -> Path:
        assert self._folder is not None
        return self._folder / (self._name + suffix)

    def close(self) -> None:
        """Idempotent."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def load(self) -> tuple[int, Kept] | None:
        """How long ago the last run ended, and what it kept; None for nothing. A file of no use is told and put aside."""
        if self._folder is None or not self.active:
            return None
        path = self._path(STATE)
        try:
            return decode(path.read_bytes(), time.time_ns() // 1_000_000)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say(f"{path}: cannot be read: {error.strerror}; every server starts anew")
        except Unusable as why:
            aside = self._path(ASIDE)
            with suppress(OSError):
                os.replace(path, aside)
            self._say(f"{path}: {why}; every server starts anew, and the file is {aside} now")
        return None

    def tell(self, kept: Kept, found: int) -> None:
        """What came of a file."""
        count = sum(len(servers) for _, servers in kept.values())
        if count and not found:
            self._say(
                f"{self._path(STATE)}: the state kept there is of another configuration; every server starts anew"
            )

    async def run(self, news: Callable[[], int], join_of: Callable[[], Join], seen: int) -> None:
        """Writes whenever there was news besides what was `seen`, until cancelled."""
        pause_s = EVERY_S
        while self.active:
            await trio.sleep(pause_s)
            if (now := news()) == seen:
                continue
            begin = trio.current_time()
            if await self._write(join_of()):
                seen = now
            pause_s = max(EVERY_S, SHARE * (trio.current_time() - begin))

    async def _write(self, join: Join) -> bool:
        parts = []
        for part in parts_of(join):
            parts.append(part)
            await trio.lowlevel.checkpoint()
        return await trio.to_thread.run_sync(self._replace, parts)

    def write_now(self, join: Join) -> None:
        """At the end."""
        if self.active:
            self._replace([*parts_of(join)])

    def _replace(self, parts: list[bytes]) -> bool:
        """Whether it is written; that it is not is told once."""
        path = self._path(STATE)
        try:
            write_whole(path, encode(Head(time.time_ns() // 1_000_000, self._version, len(parts)), parts))
        except OSError as error:
            if self._failed != str(error):
                self._say(f"{path}: the state cannot be kept: {error.strerror}")
            self._failed = str(error)
            return False
        self._failed = ""
        return True


def parts_of(join: Join) -> Iterator[bytes]:
    """All proxies and their servers, packed. The fleet may change between two parts: each server is whole."""
    for number, proxy in enumerate(join.fleet.proxies):
        own = list(proxy.own)
        for at in range(0, len(own) or 1, SLICE):
            yield part_of(join, number, own[at : at + SLICE])


def part_of(join: Join, number: int, own: Sequence[int]) -> bytes:
    """A proxy and some of its servers. Those of `add server` are not kept: the file does not know them."""
    fleet, now = join.fleet, now_ms()
    figures = {which: dict(zip(own, join.record.block(own, which), strict=True)) for which in (HEALTH, AGENT)}

    def live(index: int, which: int) -> Shown:
        server = fleet.servers[index]
        check = server.agent if which == AGENT else server.health
        assert check is not None
        row = figures[which][index]
        return shown(None if row is None else Figures(*row), check.fails_before)

    servers = [
        msgspec.structs.replace(kept, name=encodable(kept.name))
        for index in own
        if not fleet.servers[index].dynamic and (kept := keep_server(fleet, index, live, now))
    ]
    kept_proxy = keep_proxy(fleet.proxies[number], now)
    return msgspec.msgpack.encode((msgspec.structs.replace(kept_proxy, name=encodable(kept_proxy.name)), servers))


def shown(figures: Figures | None, fails_before: int) -> Shown:
    """What the engine knows of a check. While one runs, its last result is forgotten: the news stand for it."""
    if figures is None:
        return Shown(-fails_before, None)
    last = None
    if not figures.in_progress and figures.status_number > Status.INI:
        text = figures.raw_text[: figures.text_len]
        last = figures.status_number, figures.verdict_number, figures.code, figures.duration_ms, text
    return Shown(figures.fails - fails_before, last)


def write_whole(path: Path, data: bytes) -> None:
    """A file is the old one or the new one, whatever happens. Raises: OSError."""
    new = path.with_name(path.name + NEW)  # several files of one name are written at the same time
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            new.unlink()  # where the disk is full, it is room for others
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
