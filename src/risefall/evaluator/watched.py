"""A node with this machine's files, processes and interfaces: it is told what they say, and what it says is passed on.

Scripts are left to the caller, who runs them or hears of them, and `feed`s what they come to. Nothing is polled but processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec
import trio

from risefall.config.keepalived.model import Config, Instance, Process, SyncGroup
from risefall.engine.spawning import UMASK
from risefall.errors import StartError
from risefall.evaluator.node import Called, Node, Said
from risefall.evaluator.runner import monotonic_us
from risefall.evaluator.watching import (
    PROCESSES_S,
    Files,
    Links,
    count_processes,
    due_to_init,
    own_address,
    read_start,
    write_init,
)
from risefall.vrrp.settings import US_PER_S, Imitated
from risefall.vrrp.trackers import DOWN, UP, Kind, Reading, file_value, has_quorum

Owner = TypeVar("Owner", Instance, SyncGroup)
NOTHING: Mapping[str, int] = MappingProxyType({})
Pass = Callable[[list[Said | Called]], None]


class Watched:
    """`begin`, `run` for ever, `close`. The node's clock is ours, from `begin` on."""

    def __init__(
        self,
        config: Config,
        scripts: Iterable[str],
        out: Pass,
        say: Callable[[str], None],
        *,
        peer: int | None = None,
        imitated: Imitated = Imitated.V2_2_7,
        strict: bool = True,
        write: bool = False,
    ) -> None:
        """out: takes what the node says, in its order. say: a line of our own. scripts: those that may run.

        strict: an interface that this machine has not is an error, as for keepalived; else it is down. write: files with
        `init_file` are written when they are due; else they are taken as if.
        Raises: StartError; OSError when the kernel gives no socket to watch links with.
        """
        self._write = write
        self._out = out
        self._say = say
        self._waits = trio.CancelScope()
        self._zero_us = 0
        self._values: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._quorum: dict[str, bool] = {}
        self._unsure: dict[str, int] = {}
        """Since when a quorum is another one that does not count yet."""
        self._up: dict[str, bool] = {}
        self._files: Files | None = None
        self.config = self._without_lost_files(config)
        self._links = Links()
        try:
            if strict:
                self._refuse_missing()
            self.node = Node(
                self.config,
                scripts=scripts,
                addresses=self._addresses(),
                unbound=[one.name for one in self.config.instances if one.unicast and not self._bound(one)],
                peer=peer,
                imitated=imitated,
            )
        except BaseException:
            self.close()
            raise

    def _without_lost_files(self, config: Config) -> Config:
        """keepalived takes a file for not configured whose folder is not there."""
        lost = {one.name for one in config.files if not os.path.isdir(os.path.dirname(os.path.abspath(one.path)))}
        for one in config.files:
            if one.name in lost:
                self._say(f"Track file directory for {one.name} does not exist - removing")
        if not lost:
            return config

        def kept(owner: Owner) -> Owner:
            tracked = tuple(one for one in owner.track_files if one.name not in lost)
            return msgspec.structs.replace(owner, track_files=tracked)

        return msgspec.structs.replace(
            config,
            files=tuple(one for one in config.files if one.name not in lost),
            instances=tuple(map(kept, config.instances)),
            groups=tuple(map(kept, config.groups)),
        )

    def _refuse_missing(self) -> None:
        links = self._links
        missing = [one for one in self.config.instances if one.interface and not links.exists(one.interface)]
        if missing and not self.config.global_.dynamic_interfaces:
            told = ", ".join(f"{one.interface} of {one.name}" for one in missing)
            raise StartError(
                f"this machine has no interface {told}: keepalived does not start\n"
                "  help: --plan shows the configuration without running anything"
            )

    def _addresses(self) -> dict[str, str]:
        addresses = {}
        for one in self.config.instances:
            if one.interface and (address := self._links.address(one.interface, one.family)):
                addresses[one.interface] = address
        return addresses

    def _bound(self, one: Instance) -> bool:
        """Whether an instance can send from its source; 2.2.7 tries it once, at the start."""
        if not one.source_ip or own_address(one.source_ip, one.interface or ""):
            return True
        self._say(f"({one.name}): entering FAULT state (src address not configured)")
        return False

    def begin(self, start: Callable[[Node], None] = Node.start) -> None:
        """Reads files, processes and interfaces, then starts the node. start: instead of its `start`, after a reload."""
        supposed = self._init_files() if start is Node.start else {}
        used = self.node.wanted(Kind.FILE)
        self._files = Files([one.path for one in self.config.files if one.name in used])
        for path in self._files.blind:
            self._say(f"track file {path}: its folder cannot be watched, it is read once")
        for path in {one.path for one in self.config.files}:
            self._read_file(path, supposed)
        self._read_links()
        self._count()
        self._zero_us = monotonic_us()
        start(self.node)
        self.flush()

    async def run(self) -> None:
        """Follows the node's own time, and what it tracks; until cancelled."""
        assert self._files is not None, "begin comes first"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_time)
            nursery.start_soon(self._watch_files, self._files)
            nursery.start_soon(self._watch_links)
            if self.node.wanted(Kind.PROCESS):
                nursery.start_soon(self._watch_processes)

    def close(self) -> None:
        """Idempotent."""
        self._links.close()
        if self._files is not None:
            self._files.close()
            self._files = None

    # --- the node ---------------------------------------------------------------------------------------------------

    def feed(self, kind: Kind, name: str, reading: Reading) -> None:
        """Something that it tracks tells."""
        self.advance()
        self.node.read(kind, name, reading)
        self.flush()

    def advance(self) -> None:
        """Lets the node's time come up to ours."""
        self.node.run(monotonic_us() - self._zero_us)

    def flush(self) -> None:
        """Passes on what the node has said, and lets the clock wait for what it waits for now."""
        if said := self.node.drain():
            self._out(said)
        self._waits.deadline = (self._zero_us + self.node.network.next_us()) / US_PER_S

    # --- what comes in ----------------------------------------------------------------------------------------------

    def _init_files(self) -> dict[str, int]:
        """Writes those that are due; returns the values of those that are only taken as if, by path."""
        supposed: dict[str, int] = {}
        umask = self.config.global_.umask
        for one in filter(due_to_init, self.config.files):
            assert one.init is not None
            if not self._write:
                supposed[one.path] = one.init
                continue
            try:
                write_init(one, UMASK if umask is None else umask)
            except OSError as error:
                self._say(f"Unable to open '{one.path}' - errno {error.errno} ({error.strerror})")
        return supposed

    def _read_file(self, path: str, supposed: Mapping[str, int] = NOTHING) -> None:
        used = self.node.wanted(Kind.FILE)
        for one in self.config.files:
            if one.path != path or one.name not in used:
                continue
            value = supposed.get(path, file_value(read_start(path), self._values.get(one.name, 0)))
            if self._values.get(one.name) != value:
                self._values[one.name] = value
                self.node.read(Kind.FILE, one.name, Reading(up=True, value=value))

    def _read_links(self) -> None:
        """An instance's own interface needs an address, too."""
        links = self._links
        own: dict[str, int] = {}
        for one in self.config.instances:
            if one.interface and not one.source_ip:
                own[one.interface] = one.family
        names = {one.interface for one in self.config.instances if one.interface} | {*self.node.wanted(Kind.INTERFACE)}
        for name in sorted(names):
            family = own.get(name)
            up = links.up(name) and (family is None or links.address(name, family) is not None)
            if self._up.get(name) != up:
                self._up[name] = up
                self.node.interface(name, up=up)

    def _count(self) -> None:
        used = self.node.wanted(Kind.PROCESS)
        wanted = [one for one in self.config.processes if one.name in used]
        for name, count in count_processes(wanted).items():
            config = next(one for one in wanted if one.name == name)
            good = has_quorum(count, config.quorum, config.quorum_max)
            if self._quorum.get(name) is good:
                self._unsure.pop(name, None)
                continue
            if name in self._quorum and self._waits_still(config, count):
                continue
            self._counts[name] = count
            if name in self._quorum:
                self._out([Said(f"Quorum {'gained' if good else 'lost'} for tracked process {name}")])
            self._quorum[name] = good
            self._unsure.pop(name, None)
            self.node.read(Kind.PROCESS, name, UP if good else DOWN)

    def _waits_still(self, process: Process, count: int) -> bool:
        """Whether a change of this quorum is younger than fork_delay or terminate_delay."""
        now_us = monotonic_us()
        more = count > self._counts.get(process.name, 0)
        delay_us = 1000 * (process.fork_delay_ms if more else process.terminate_delay_ms)
        return now_us - self._unsure.setdefault(process.name, now_us) < delay_us

    async def _watch_time(self) -> None:
        """The node's own deadlines; `flush` moves the scope's as they move."""
        while True:
            self.advance()
            with trio.CancelScope() as self._waits:
                self.flush()
                await trio.sleep_forever()

    async def _watch_files(self, files: Files) -> None:
        while True:
            for path in sorted(await files.changed()):
                self.advance()
                self._read_file(path)
                self.flush()

    async def _watch_links(self) -> None:
        while True:
            await self._links.changed()
            self.advance()
            self._read_links()
            self.flush()

    async def _watch_processes(self) -> None:
        while True:
            await trio.sleep(PROCESSES_S)
            self.advance()
            self._count()
            self.flush()
