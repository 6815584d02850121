"""What is told of a run: HAProxy's lines to its log targets and to the terminal, and every event as an object a line."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence

import msgspec

from risefall.config.haproxy.model import Config
from risefall.config.text import encodable
from risefall.daemon.outbox import Outbox
from risefall.engine.native import Event
from risefall.state.fleet import Fleet
from risefall.state.words import status_word
from risefall.surfaces.syslog import Logger

EMERG = 0
STDOUT, STDERR = 1, 2


class CheckTold(msgspec.Struct, frozen=True, tag="check", tag_field="event"):
    """A result that was news, as `run --json` prints it. time: UTC; late_us: from due to started."""

    time: str
    backend: str
    server: str
    check: str
    status: str
    code: int | None
    duration_ms: int
    health: int
    text: str
    late_us: int


class StateTold(msgspec.Struct, frozen=True, tag="state", tag_field="event"):
    """A server that is another one now. status: the word of `show stat`."""

    time: str
    backend: str
    server: str
    status: str
    op: str
    admin: int
    weight: int


class LineTold(msgspec.Struct, frozen=True, tag="log", tag_field="event"):
    """A log line; level 0 (emerg) to 7 (debug)."""

    time: str
    backend: str
    level: int
    line: str


def wall_time() -> str:
    """Now, UTC, with milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Following(msgspec.Struct, frozen=True):
    """Where the lines of one configuration go. names: of its proxies, and what they are."""

    names: list[tuple[str, str]]
    logger: Logger | None


class Report:
    """Everything that leaves the daemon as text. where: `config`, `stderr` or `none`."""

    def __init__(self, config: Config, where: str, *, as_json: bool) -> None:
        self._where = where
        self._pid = os.getpid()
        self.stdout = Outbox(STDOUT) if as_json else None
        self.stderr = Outbox(STDERR)
        self._names: list[tuple[str, str]] = []
        self.logger: Logger | None = None
        self._dropped_before = 0
        self.follow(self.prepare(config))

    def prepare(self, config: Config) -> Following:
        """Opens what a configuration logs to. Log targets may be names that have to be looked up: not in the loop."""
        names = [(proxy.name, "proxy" if proxy.kind == "listen" else proxy.kind) for proxy in config.proxies]
        if self._where != "config":
            return Following(names, None)
        global_ = config.global_
        logger = Logger(
            [proxy.logs for proxy in config.proxies],
            tags=[proxy.log_tag or global_.log_tag or "risefall" for proxy in config.proxies],
            send_hostname=global_.log_send_hostname,
            pid=self._pid,
            clock=lambda: datetime.datetime.now().timestamp(),
        )
        return Following(names, logger)

    def follow(self, following: Following) -> None:
        """From now on lines are told as that configuration says."""
        if self.logger is not None:
            self._dropped_before += self.logger.dropped
            self.logger.close()
        self._names, self.logger = following.names, following.logger
        for warning in self.logger.warnings if self.logger is not None else ():
            self.say(warning)

    @property
    def outboxes(self) -> list[Outbox]:
        """Those whose task has to run."""
        return [self.stderr] if self.stdout is None else [self.stderr, self.stdout]

    @property
    def dropped(self) -> int:
        """Lines that nobody took."""
        return (
            self._dropped_before
            + (self.logger.dropped if self.logger else 0)
            + sum(box.dropped for box in self.outboxes)
        )

    def close(self) -> None:
        for box in self.outboxes:
            box.close()
        if self.logger:
            self.logger.close()

    def say(self, text: str) -> None:
        """A word of risefall's own, to the terminal."""
        self.stderr.put(f"risefall: {text}\n".encode("utf-8", "replace"))

    def line(self, proxy: int, level: int, text: str) -> None:
        """One of HAProxy's lines; on the terminal as HAProxy prints it there (spec §6.1)."""
        if self._where != "none":
            word = "ALERT" if level == EMERG else "WARNING"
            shown = text
            name, kind = self._names[proxy]
            if level == EMERG and text.startswith(f"{kind} {name} has no server"):
                shown = f"{kind} '{name}' {text[len(kind) + len(name) + 2 :]}"
            self.stderr.put(
                f"[{word}]{' ' * (9 - len(word))}({self._pid}) : {shown}\n".encode("utf-8", "surrogateescape")
            )
        if self.logger:
            self.logger.log(proxy, level, text)
        if self.stdout:
            self._object(LineTold(wall_time(), encodable(self._names[proxy][0]), level, encodable(text)))

    def check(self, fleet: Fleet, index: int, which: int, event: Event) -> None:
        """A result, as an object."""
        if self.stdout is None:
            return
        server, result = fleet.servers[index], event.result
        self._object(
            CheckTold(
                wall_time(),
                encodable(self._names[server.proxy][0]),
                server.name,
                ("health", "agent")[which],
                result.status.name,
                result.code if result.status.has_code else None,
                result.duration_ms,
                result.health,
                result.text.decode("utf-8", "replace"),
                event.late_us,
            )
        )

    def states(self, fleet: Fleet, changed: Sequence[int]) -> None:
        """Servers that changed, as objects."""
        if self.stdout is None:
            return
        for index in changed:
            server = fleet.servers[index]
            self._object(
                StateTold(
                    wall_time(),
                    encodable(self._names[server.proxy][0]),
                    server.name,
                    status_word(fleet, index),
                    server.op.name,
                    int(server.admin),
                    fleet.effective_weight(index),
                )
            )

    def object(self, value: msgspec.Struct) -> None:
        """Any other object, such as a reading of `--stats`."""
        self._object(value)

    def _object(self, value: msgspec.Struct) -> None:
        if self.stdout:
            self.stdout.put(msgspec.json.encode(value) + b"\n")
