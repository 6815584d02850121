"""A configuration moved onto played backends: the same checks, the same paces, on ports of our own on loopback.

Only what decides about checks is carried over, by a list of words, so that nothing of the configuration's own addresses
(servers, agents, binds, log targets, resolvers, sources) is ever touched. The result is read again with risefall's own
reader, and refused if any check of it would leave the played ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from risefall.config.haproxy.keywords import CHECK_OPTIONS, SERVER_WORDS
from risefall.config.haproxy.model import ConnectRule, Line, Section
from risefall.config.haproxy.plan import Loaded, PlannedServer
from risefall.config.haproxy.server_values import read_source
from risefall.config.haproxy.servers import TLS
from risefall.engine.play import Act, When
from risefall.errors import StartError
from risefall.trial.sound import AGENT_UP, NotPlayed, acts_for

HOST = "127.0.0.1"
SPECIAL = re.compile(r"[\\\s\"'#\x00-\x1f\x7f]")
GLOBAL_WORDS = ("spread-checks", "max-spread-checks", "tune.bufsize", "tune.chksize", "tune.max-checks-per-thread")
PROXY_WORDS = frozenset(("http-check", "tcp-check", "mode", "balance", "hash-type", "fullconn"))
TIMEOUTS = frozenset(("connect", "check", "server", "queue", "client"))
OPTIONS = CHECK_OPTIONS - {"external-check"} | {"allbackups"}
MOVED = frozenset(
    (
        "addr", "port", "agent-addr", "agent-port", "namespace", "resolvers", "resolve-net", "resolve-opts", "resolve-prefer",
        "init-addr", "socks4", "check-via-socks4", "usesrc", "source", "id", "cookie", "observe", "redir", "on-error",
        "error-limit", "tcp-ut", "track", "proxy-v2-options", "tfo", "guid", "log-proto", "disabled", "enabled",
    )
)  # fmt: skip
"""Words of a server that are left out: they name places, or are about traffic. `track` is told anew."""
SECURE = TLS | {"ssl", "check-ssl", "no-ssl", "no-check-ssl", "check-sni", "check-alpn", "alpn", "proto", "check-proto", "ws",
                "send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn", "check-send-proxy",
                "allow-0rtt", "ssl-reuse", "no-ssl-reuse", "tls-tickets", "no-tls-tickets", "no-verifyhost"}  # fmt: skip
"""Of played servers these concern traffic only: a check that uses one is not played."""


class Played(msgspec.Struct, frozen=True):
    """One server of the trial. acts: its sound dialogue, empty where the check only connects; None without a health check."""

    backend: str
    name: str
    planned: PlannedServer
    acts: tuple[Act, ...] | None

    @property
    def full_name(self) -> str:
        return f"{self.backend}/{self.name}"

    @property
    def timeout_ms(self) -> int:
        """What the check waits for an answer: `timeout check`, else inter."""
        return self.planned.timeout_check_ms or self.planned.inter_ms


class LeftOut(msgspec.Struct, frozen=True):
    """A server that is not part of the trial, and why."""

    server: str
    why: str


class Stage(msgspec.Struct, frozen=True):
    """What is played, in the order of the configuration."""

    played: tuple[Played, ...]
    left_out: tuple[LeftOut, ...]

    def without(self, reasons: Mapping[str, str]) -> Stage:
        """Leaves out the servers named, each for its reason."""
        more = tuple(LeftOut(name, why) for name, why in reasons.items())
        return Stage(tuple(one for one in self.played if one.full_name not in reasons), self.left_out + more)

    def with_servers(self, count: int) -> Stage:
        """So many of each backend: its own, and copies of them in turn."""
        by_backend: dict[str, list[Played]] = {}
        for one in self.played:
            by_backend.setdefault(one.backend, []).append(one)
        return Stage(tuple(one for own in by_backend.values() for one in multiplied(own, count)), self.left_out)


def stage_of(loaded: Loaded) -> Stage:
    """What of a configuration can be played."""
    played: list[Played] = []
    left_out: list[LeftOut] = []
    for planned in loaded.planned:
        name = planned.config.name
        if not planned.check and not planned.agent:
            why = f"tracks {planned.track.backend}/{planned.track.server}" if planned.track else "has no check"
            left_out.append(LeftOut(f"{planned.proxy.name}/{name}", why))
            continue
        if planned.disabled:
            left_out.append(LeftOut(f"{planned.proxy.name}/{name}", "is disabled"))
            continue
        try:
            acts = acts_for(planned) if planned.check else None
        except NotPlayed as reason:
            left_out.append(LeftOut(f"{planned.proxy.name}/{name}", f"not played: {reason}"))
            continue
        played.append(Played(planned.proxy.name, name, planned, acts))
    return Stage(tuple(played), tuple(left_out))


def multiplied(own: Sequence[Played], count: int) -> list[Played]:
    """So many servers: the first of them, or all and copies of them in turn."""
    names = {one.name for one in own}
    out = list(own[:count])
    for number in range(len(own), count):
        original = own[number % len(own)]
        name = f"{original.name}.{number // len(own) + 1}"
        while name in names:
            name += "x"
        names.add(name)
        out.append(msgspec.structs.replace(original, name=name))
    return out


def quoted(word: str) -> str:
    """A word as haproxy reads it back."""

    def escape(found: re.Match[str]) -> str:
        char = found.group()
        return {"\r": "\\r", "\n": "\\n", "\t": "\\t", "\\": "\\\\", " ": "\\ "}.get(
            char, f"\\{char}" if char in "\"'#" else f"\\x{ord(char):02x}"
        )

    return SPECIAL.sub(escape, word)


def server_words(words: Sequence[str]) -> list[str]:
    """What follows the address of a server line, without places and TLS."""
    kept: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word == "source":
            _, at = read_source(words, at)
            continue
        known = SERVER_WORDS.get(word)
        count = 1 if known is None else known[0]
        if word not in MOVED and word not in SECURE:
            kept += words[at : at + 1 + count]
        at += 1 + count
    return kept


def kept_line(line: Line) -> list[str] | None:
    """The words of a line of a defaults, backend or listen section that decide about checks; None for another line."""
    words = list(line.words)
    first = words[1] if words[0] in ("no", "default") and len(words) > 1 else words[0]
    second = words[words.index(first) + 1] if words[-1] != first else ""
    if first == "default-server":
        kept = server_words(words[1:])
        return ["default-server", *kept] if kept else None
    if first in PROXY_WORDS or (first == "timeout" and second in TIMEOUTS):
        return words
    if first == "option" and second in OPTIONS:
        return words
    return None


class Writer:
    """Writes the trial's configuration. ports: of the health check and the agent of each played server."""

    def __init__(self, loaded: Loaded, stage: Stage, ports: Sequence[tuple[int, int]]) -> None:
        self._loaded, self._stage = loaded, stage
        self._lines: dict[tuple[str, int], Line] = {
            (line.file, line.line): line for section in loaded.config.tree for line in section.lines
        }
        self._by_line: dict[tuple[str, str, int], list[tuple[Played, tuple[int, int]]]] = {}
        for one, port in zip(stage.played, ports, strict=True):
            own = one.planned.config
            self._by_line.setdefault((one.backend, own.file, own.line), []).append((one, port))

    def text(self, door: str = "") -> str:
        """door: path of a socket that nobody uses: haproxy does not start without a listener."""
        out = ["global", "    log stdout format raw local0 info"]
        for section in self._loaded.config.tree:
            if section.kind == "global":
                out += [
                    "    " + " ".join(map(quoted, line.words))
                    for line in section.lines
                    if line.words[0] in GLOBAL_WORDS
                ]
        if door:
            out += ["", "frontend risefall-bench", f"    bind unix@{door}", "    timeout client 10s"]
        proxies = {one.backend for one in self._stage.played}
        for section in self._loaded.config.tree:
            if section.kind == "defaults" or (section.kind in ("backend", "listen") and section.name in proxies):
                out += self._section(section)
            elif section.kind == "healthcheck":
                out += ["", " ".join(map(quoted, section.head.words))]
                out += ["    " + " ".join(map(quoted, line.words)) for line in section.lines]
        return "\n".join([*out, ""])

    def _section(self, section: Section) -> Iterable[str]:
        head = list(section.head.words)
        if head[0] == "listen":
            head = ["backend", head[1], *(head[head.index("from") :] if "from" in head else [])]
        yield ""
        yield " ".join(map(quoted, head))
        if section.kind != "defaults":
            yield "    log global"
        for line in section.lines:
            if line.words[0] in ("server", "server-template"):
                for one, ports in self._by_line.get((section.name, line.file, line.line), ()):
                    yield "    " + " ".join(map(quoted, self._server(one, ports)))
            elif kept := kept_line(line):
                yield "    " + " ".join(map(quoted, kept))

    def _server(self, one: Played, ports: tuple[int, int]) -> list[str]:
        own = one.planned.config
        line = self._lines[own.file, own.line]
        tail = server_words(line.words[4 if line.words[0] == "server-template" else 3 :])
        agent = ["agent-port", str(ports[1])] if one.planned.agent else []
        return ["server", one.name, f"{HOST}:{ports[0]}", *tail, *agent]


def must_stay(loaded: Loaded, ports: Iterable[int]) -> None:
    """Raises StartError if any check of the trial would go anywhere but to a played port."""
    ours = set(ports)
    for server in loaded.planned:
        goals = [(server.check_addr, server.check_port)] if server.check else []
        goals += [(server.agent_addr, server.agent_port)] if server.agent else []
        strays = any(isinstance(rule, ConnectRule) and (rule.addr or rule.port) for rule in server.rules.rules)
        if strays or any(addr is None or addr.host != HOST or port not in ours for addr, port in goals):
            raise StartError(
                f"{server.proxy.name}/{server.config.name}: its check would leave the played ports; left alone"
            )


AGENT = (Act(AGENT_UP, When.ACCEPT),)
