"""What keepalived's healthcheck process would check: each checker by where, what, how often, and why not where it is not.

Source: spec/keepalived-track.md §11; names as 2.2.7 logs them.
"""

from __future__ import annotations

import msgspec

from risefall.config.keepalived.model import Checker, Config, RealServer, SorryServer, VirtualServer
from risefall.engine.pcre import Regex, RegexError

NOT_SPOKEN = {
    "BFD_CHECK": "BFD is not spoken",
    "FILE_CHECK": "track files are not read for real servers",
}
BOOTSTRAP_MS = 1000
"""keepalived lets this pass before the first check, and a random part of `warmup` behind it."""


class PlannedChecker(msgspec.Struct, frozen=True):
    """One checker. to: where it connects, `[10.0.0.1]:80`, empty for none. why_not: why it is not checked, and so holds
    nobody down; empty where it is."""

    config: Checker
    to: str
    why_not: str = ""


class PlannedServer(msgspec.Struct, frozen=True):
    """One real server, `[10.0.0.2]:tcp:80`."""

    name: str
    config: RealServer
    checkers: tuple[PlannedChecker, ...]


class PlannedPool(msgspec.Struct, frozen=True):
    """One virtual server, named as keepalived names it. sorry: the name of its sorry server, else empty."""

    name: str
    config: VirtualServer
    servers: tuple[PlannedServer, ...]
    sorry: str = ""

    @property
    def total(self) -> int:
        """The weights of all its servers."""
        return sum(server.config.weight for server in self.servers)


def server_name(pool: VirtualServer, server: RealServer | SorryServer) -> str:
    """As keepalived's lines and FIFO name a real server."""
    return f"[{server.address}]:{(pool.protocol or 'none').lower()}:{server.port}"


def target(server: RealServer, checker: Checker) -> tuple[str, int]:
    """Address and port that a checker connects to."""
    return checker.connect_ip or server.address, checker.connect_port or server.port


def why_not(checker: Checker) -> str:
    """Why a checker is not run; empty when it is."""
    if checker.kind in NOT_SPOKEN:
        return NOT_SPOKEN[checker.kind]
    for url in checker.urls:
        if url.regex is not None:
            try:
                regex_of(url.regex, url.regex_options)
            except RegexError as error:
                return f"its regex cannot be used: {error}"
    return ""


def regex_of(pattern: str, options: tuple[str, ...]) -> Regex:
    """Raises: RegexError."""
    return Regex(pattern.encode("utf-8", "surrogateescape"), options)


def plan(config: Config) -> tuple[PlannedPool, ...]:
    """Every virtual server of a configuration, in its order."""
    return tuple(_pool(one) for one in config.virtual_servers)


def _pool(config: VirtualServer) -> PlannedPool:
    servers = tuple(
        PlannedServer(server_name(config, one), one, tuple(_checker(one, checker) for checker in one.checkers))
        for one in config.real_servers
    )
    sorry = config.sorry_server
    return PlannedPool(config.name, config, servers, server_name(config, sorry) if sorry is not None else "")


def _checker(server: RealServer, checker: Checker) -> PlannedChecker:
    address, port = target(server, checker)
    to = "" if checker.kind in ("MISC_CHECK", "FILE_CHECK", "BFD_CHECK") else f"[{address}]:{port}"
    return PlannedChecker(checker, to, why_not(checker))
