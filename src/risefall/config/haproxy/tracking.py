"""`track` to the server that is meant, and everything that forbids it.

Source: spec/haproxy-checks.md §1.8, §1.4 (disable-on-404), §1.5 (init-state).
"""

from __future__ import annotations

from collections.abc import Sequence

from risefall.config.haproxy.model import RuleSet
from risefall.config.haproxy.proxies import ProxyDraft, ServerDraft
from risefall.config.text import Wrong, nearest

Place = tuple[ProxyDraft, ServerDraft]


def word_at(draft: ServerDraft, word: str) -> int | None:
    """Where a keyword stands on the server's own line."""
    words = draft.line.words
    return words.index(word) if word in words else None


class Tracking:
    """Finds and judges every `track` of a configuration."""

    def __init__(self, proxies: Sequence[ProxyDraft], rules: Sequence[RuleSet]) -> None:
        self._backends: dict[str, ProxyDraft] = {}
        self._rules = {id(proxy): rule for proxy, rule in zip(proxies, rules, strict=True)}
        self._proxies = proxies
        for proxy in proxies:
            if proxy.has_backend:
                self._backends.setdefault(proxy.name, proxy)
        self._servers: dict[int, dict[str, ServerDraft]] = {}

    def check(self) -> None:
        """Notes an error for every `track` that cannot be."""
        for proxy in self._proxies:
            if proxy.disabled or not any(server.settings.track for server in proxy.servers):
                continue
            for server in proxy.servers:
                if server.settings.track:
                    try:
                        self._judge(proxy, server)
                    except Wrong as wrong:
                        proxy.error(wrong, server.line)

    def find(self, proxy: ProxyDraft, server: ServerDraft) -> Place:
        """The server that is tracked. Raises Wrong."""
        name = server.settings.track
        at = word_at(server, "track")
        at = None if at is None else at + 1
        backend, slash, wanted = name.rpartition("/")
        target = self._backends.get(backend) if slash else proxy
        if target is None:
            meant = nearest(backend, self._backends)
            raise Wrong(
                f"unable to find required proxy '{backend}' for tracking",
                at,
                help=f"did you mean '{meant}'?" if meant else "name a backend of this configuration",
            )
        servers = self._servers.get(id(target))
        if servers is None:
            servers = self._servers[id(target)] = {one.name: one for one in target.servers}
        if wanted not in servers:
            meant = nearest(wanted, servers)
            raise Wrong(
                f"unable to find required server '{wanted}' for tracking",
                at,
                help=f"did you mean '{meant}'?" if meant else f"backend '{target.name}' has no such server",
            )
        return target, servers[wanted]

    def _judge(self, proxy: ProxyDraft, server: ServerDraft) -> None:
        settings = server.settings
        at = word_at(server, "track")
        if settings.check:
            return  # told already
        if settings.init_state:
            raise Wrong(
                "unable to set init-state and tracking at the same time!", at, help="remove 'init-state' or 'track'"
            )
        first = last = self.find(proxy, server)
        seen = {id(server)}
        while last[1].settings.track and not last[1].settings.check:
            if id(last[1]) in seen:
                raise Wrong(
                    f"unable to track {first[0].name}/{first[1].name} as it belongs to a tracking chain looping back to {last[0].name}/{last[1].name}",
                    at,
                    help="let one server of the chain have a check of its own",
                )
            seen.add(id(last[1]))
            last = self.find(*last)
        if not (last[1].settings.check or last[1].settings.agent_check):
            raise Wrong(
                f"unable to use {last[0].name}/{last[1].name} for tracking as it does not have any check nor agent enabled",
                at,
                help="add 'check' to that server",
            )
        if first[0] is not proxy and self._rules[id(first[0])].disable_on_404 != self._rules[id(proxy)].disable_on_404:
            raise Wrong(
                f"unable to use {first[0].name}/{first[1].name} for tracking: disable-on-404 option inconsistency",
                at,
                help="give both backends 'http-check disable-on-404', or neither",
            )
