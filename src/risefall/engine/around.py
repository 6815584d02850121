"""What else a configuration has that an expression of a check may name: backends, servers, frontends, stick tables.

Source: haproxy configuration manual 2.6, §4.2 stick-table, §7.3.2; spec/haproxy-checks.md §8.2.
"""

from __future__ import annotations

from typing import NamedTuple

from risefall.config.haproxy.model import Config, Proxy
from risefall.engine.layout import NotChecked

SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Table(NamedTuple):
    """A stick table. key: `ip`, `ipv6`, `integer`, `string` or `binary`. size: entries that it has room for."""

    key: str
    size: int


def table_of(proxy: Proxy) -> Table | None:
    """A proxy's stick table, None where it has none, or one that HAProxy would not take."""
    for line in proxy.section.lines:
        if line.words[0] == "stick-table":
            said = dict(zip(line.words, line.words[1:], strict=False))
            digits = said.get("size", "").lower()
            unit = SIZES.get(digits[-1:], 1)
            digits = digits if unit == 1 else digits[:-1]
            return Table(said.get("type", ""), int(digits) * unit) if digits.isdecimal() else None
    return None


class Around:
    """Names of one configuration, looked up only where an expression holds one. It keeps nothing else of it."""

    def __init__(self, config: Config) -> None:
        self._frontends = {proxy.name for proxy in config.proxies if proxy.has_frontend}
        self._backends = {
            proxy.name: tuple(server.name for server in proxy.servers) for proxy in config.proxies if proxy.has_backend
        }
        self._tables = {proxy.name: table for proxy in config.proxies if (table := table_of(proxy)) is not None}

    def backend(self, name: str) -> None:
        """Raises NotChecked where there is no such backend."""
        if name not in self._backends:
            raise NotChecked(f"there is no backend '{name}'")

    def server(self, backend: str, name: str) -> None:
        """Raises NotChecked where there is no such server."""
        self.backend(backend)
        if name not in self._backends[backend]:
            raise NotChecked(f"there is no server '{backend}/{name}'")

    def frontend(self, name: str) -> None:
        """Raises NotChecked where there is no such frontend."""
        if name not in self._frontends:
            raise NotChecked(f"there is no frontend '{name}'")

    def table(self, name: str) -> Table:
        """A stick table. Raises NotChecked where there is none."""
        if name not in self._tables:
            raise NotChecked(f"there is no stick table '{name}'")
        return self._tables[name]

    def backends(self) -> list[str]:
        """All of them, in their order."""
        return list(self._backends)

    def servers(self) -> list[str]:
        """All of them as `backend/server`."""
        return [f"{name}/{server}" for name, servers in self._backends.items() for server in servers]

    def servers_of(self, backend: str) -> tuple[str, ...]:
        """Names of one backend's servers, in their order."""
        return self._backends.get(backend, ())
