"""Servers that come and go while the daemon runs: from the words of a command to checks that wait to be enabled.

What it takes of the configuration is kept without its servers and its text, which are most of it.
Source: spec/haproxy-checks.md §5.5; run on 2.6.12.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import msgspec

from risefall.config.haproxy.added import Added, NotAdded, read_added
from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import Config
from risefall.config.haproxy.plan import common, planned_server
from risefall.daemon.assemble import server_state
from risefall.daemon.join import Join, now_ms
from risefall.engine.around import Around
from risefall.engine.names import Found
from risefall.engine.native import Program, now_ns
from risefall.engine.targets import Target, TargetBuilder
from risefall.errors import NativeError
from risefall.state import growth
from risefall.state.commands import Refused
from risefall.state.fleet import Fleet
from risefall.state.server import Admin, Op, ServerState

BUSY = "risefall has too much to do for another check just now: try again"
DEFAULT_WEIGHT = 1
"""What 2.6 shows as the weight of an added server until its maintenance ends."""


def without_servers(config: Config) -> Config:
    """A configuration that can still be asked how a server of it is checked."""
    proxies = tuple(
        msgspec.structs.replace(proxy, servers=(), section=msgspec.structs.replace(proxy.section, lines=()))
        for proxy in config.proxies
    )
    tree = tuple(section for section in config.tree if section.kind == "global")
    return msgspec.structs.replace(config, proxies=proxies, tree=tree, warnings=())


class Grower:
    """Makes servers for the fleet of one configuration. The order of its proxies is the fleet's."""

    def __init__(
        self, config: Config, dialect: Dialect, found: Found, *, node: str, groups: Sequence[int], around: Around
    ) -> None:
        """groups: the engine's group of each proxy. around: the names that expressions may say."""
        self._config = without_servers(config)
        self._dialect = dialect
        self._builder = TargetBuilder(self._config, dialect, found, node=node, groups=groups, around=around)

    def agent_program(self, send: str) -> Program:
        """What an agent-check does that sends a text."""
        return self._builder.agent_program(send)

    def add(self, fleet: Fleet, join: Join, place: int, name: str, words: Sequence[str]) -> int:
        """`add server`: its index in the fleet. Raises: Refused."""
        proxy = self._config.proxies[place]
        try:
            verify = self._config.global_.ssl_server_verify
            if self._dialect.newer_added:
                growth.refuse_name(fleet, place, name)
            free = partial(growth.free_id, fleet, place)
            known = self._config.proxies, self._config.healthchecks
            server = read_added(proxy, name, words, self._dialect, verify, free, *known, os.environ)
        except NotAdded as refusal:
            raise Refused(str(refusal)) from None
        tracks = growth.find_tracked(fleet, place, server.settings.track) if server.settings.track else -1
        growth.refuse_name(fleet, place, name)
        target = self._target(growth.next_index(fleet), place, server)
        index = growth.add_server(fleet, place, added_state(target, place, now_ms(), enabled=server.enabled), tracks)
        try:
            if join.add(index, target):
                return index
            why = BUSY
        except NativeError as error:
            why = str(error)
        growth.withdraw(fleet, index)
        raise Refused(why)

    def _target(self, index: int, place: int, server: Added) -> Target:
        fields, connect = common(self._config, self._config.proxies[place], server.settings)
        planned = planned_server(server, {**fields, "disabled": not server.enabled}, connect)
        return self._builder.build_added(index, planned, now_ns=now_ns())


def added_state(target: Target, place: int, now_ms: int, *, enabled: bool) -> ServerState:
    """A new server: in maintenance, its checks configured and not enabled."""
    server = server_state(target, place, now_ms)
    paused = bool(server.admin & Admin.CMAINT)
    server.dynamic = True
    if enabled:
        server.admin, server.op = Admin(0), Op.RUNNING
    else:
        server.admin = Admin.FMAINT | (server.admin & Admin.CMAINT)
        server.op = Op.STOPPED
        server.held_weight = DEFAULT_WEIGHT
        server.idle_health = 0
    for check in (server.health, server.agent):
        if check is not None:
            check.enabled = False
    if server.health is not None:
        server.health.paused = paused
    return server
