"""What frontends answer by themselves: `monitor-uri`, `monitor fail`, `monitor-net`, on which binds, with which error files.

Read only where it is to be served (`run --serve config`). Source: haproxy configuration manual 2.6, §4.2; spec §8.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from risefall.config.haproxy.acls import Condition, Network, Test, read_condition, read_network, read_test
from risefall.config.haproxy.address import parse_address
from risefall.config.haproxy.model import Address, Config, Line, Proxy, Section
from risefall.config.haproxy.units import parse_time
from risefall.config.text import Diagnostics, Wrong

PORTS_MAX = 1024
SERVED_STATUSES = ("200", "503")


class Bind(msgspec.Struct, frozen=True):
    """One address of a `bind` line. why_not: why it is not served, or nothing."""

    address: Address
    place: str
    mode: str = ""
    user: str = ""
    group: str = ""
    v6only: bool = False
    why_not: str = ""


class Front(msgspec.Struct, frozen=True):
    """One frontend that answers by itself. fails: one that holds makes it say 503. errorfiles: status and path."""

    name: str
    monitor_uri: str
    binds: tuple[Bind, ...]
    fails: tuple[Condition, ...] = ()
    networks: tuple[Network, ...] = ()
    errorfiles: tuple[tuple[str, str], ...] = ()
    timeout_ms: int = 10_000


class FrontReader:
    """Reads the frontends of one configuration; what is wrong goes to the diagnostics."""

    def __init__(self, config: Config, diagnostics: Diagnostics) -> None:
        self._config = config
        self._diagnostics = diagnostics
        self._backends = {
            proxy.name: {server.name for server in proxy.servers} for proxy in config.proxies if proxy.has_backend
        }
        self._defaults = {id(section): parent for section, parent in with_defaults(config.tree)}
        self._error_sections = {section.name: section for section in config.tree if section.kind == "http-errors"}

    def fronts(self) -> list[Front]:
        """Those that have something to say."""
        found = []
        for proxy in self._config.proxies:
            if proxy.has_frontend and not proxy.disabled and (front := self._front(proxy)) is not None:
                found.append(front)
        return found

    def _front(self, proxy: Proxy) -> Front | None:
        lines = self._lines(proxy.section)
        networks = [net for line in lines if line.words[0] == "monitor-net" for net in self._networks(line)]
        if proxy.mode != "http" or not (proxy.monitor_uri or networks):
            return None
        return Front(
            proxy.name,
            proxy.monitor_uri,
            tuple(bind for line in proxy.section.lines if line.words[0] == "bind" for bind in self._binds(line)),
            tuple(self._fails(proxy)),
            tuple(networks),
            tuple(self._errorfiles(lines).items()),
            self._timeout_ms(lines),
        )

    def _lines(self, section: Section) -> list[Line]:
        """The lines of a section, those of its defaults first."""
        parent = self._defaults.get(id(section))
        return [*(parent.lines if parent is not None else ()), *section.lines]

    def _networks(self, line: Line) -> Iterator[Network]:
        for at, word in enumerate(line.words[1:], 1):
            try:
                yield read_network(word, at)
            except Wrong as wrong:
                self._note(wrong, line)

    def _fails(self, proxy: Proxy) -> Iterator[Condition]:
        """Conditions come as the lines do: an ACL has to stand above the condition that names it."""
        acls: dict[str, list[Test]] = {}
        for line in proxy.section.lines:
            try:
                match line.words:
                    case ("acl", name, *rest):
                        self._acl(acls, name, rest, proxy, line)
                    case ("monitor", "fail", *rest):
                        yield read_condition(rest, 2, acls, proxy.name, self._known)
                    case ("monitor", *_):
                        raise Wrong("'monitor' only supports 'fail'", 1, help="write monitor fail if ...")
            except Wrong as wrong:
                self._note(wrong, line)

    def _acl(self, acls: dict[str, list[Test]], name: str, rest: Sequence[str], proxy: Proxy, line: Line) -> None:
        """One that cannot be decided here is no fault, as long as no condition of ours names it."""
        named = any(
            name in word for other in proxy.section.lines if other.words[0] == "monitor" for word in other.words
        )
        if named:
            acls.setdefault(name, []).append(read_test(rest, 2, proxy.name, self._known))

    def _known(self, backend: str, server: str) -> str:
        servers = self._backends.get(backend)
        if servers is None:
            return f"unable to find backend '{backend}'"
        return f"unable to find server '{server}' in proxy '{backend}'" if server and server not in servers else ""

    def _errorfiles(self, lines: Sequence[Line]) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in lines:
            match line.words:
                case ("errorfile", status, path, *_) if status in SERVED_STATUSES:
                    found[status] = path
                case ("errorfiles", name, *statuses) if name in self._error_sections:
                    for other in self._error_sections[name].lines:
                        words = other.words
                        if words[0] == "errorfile" and len(words) > 2 and (not statuses or words[1] in statuses):
                            found[words[1]] = words[2]
                case ("http-error", "status", status, *_) if status in SERVED_STATUSES:
                    wrong = Wrong(
                        f"'http-error status {status}' is not served: HAProxy's own text is", 0, help="use errorfile"
                    )
                    self._diagnostics.add(wrong, line.file, line.line, line.raw, error=False)
        return {status: path for status, path in found.items() if status in SERVED_STATUSES}

    def _timeout_ms(self, lines: Sequence[Line]) -> int:
        found = {line.words[1]: line.words[2] for line in lines if line.words[0] == "timeout" and len(line.words) > 2}
        text = found.get("http-request") or found.get("client")
        return parse_time(text, "'timeout'", 2) if text else 10_000

    def _binds(self, line: Line) -> Iterator[Bind]:
        words = line.words
        options = {word: words[at + 1] if at + 1 < len(words) else "" for at, word in enumerate(words) if at > 1}
        why = next(
            (
                f"'{word}' binds are not served"
                for word in ("ssl", "accept-proxy", "accept-netscaler-cip")
                if word in options
            ),
            "",
        )
        place = f"{line.file}:{line.line}"
        for text in words[1].split(",") if len(words) > 1 else ():
            try:
                for address in addresses_of(text):
                    yield Bind(
                        address,
                        place,
                        options.get("mode", ""),
                        options.get("user", ""),
                        options.get("group", ""),
                        "v6only" in options,
                        why,
                    )
            except Wrong as wrong:
                self._note(wrong, line)

    def _note(self, wrong: Wrong, line: Line) -> None:
        self._diagnostics.add(wrong, line.file, line.line, line.raw, error=True)


def addresses_of(text: str) -> Iterator[Address]:
    """An address of a `bind` line, or those of a range of ports. Raises: Wrong."""
    host, colon, ports = text.rpartition(":")
    low, dash, high = ports.partition("-")
    if colon and dash and low.isdigit() and high.isdigit() and "/" not in ports:
        if not 0 <= int(high) - int(low) < PORTS_MAX:
            raise Wrong(f"a range of {int(high) - int(low) + 1} ports", 1, help=f"at most {PORTS_MAX} are served")
        for port in range(int(low), int(high) + 1):
            yield parse_address(f"{host}:{port}", 1, server=False)
    else:
        yield parse_address(text, 1, server=False)


def with_defaults(tree: Sequence[Section]) -> Iterator[tuple[Section, Section | None]]:
    """Each section with the `defaults` that it takes: the one that it names, else the last one above it."""
    named: dict[str, Section] = {}
    last: Section | None = None
    for section in tree:
        if section.kind == "defaults":
            last = section
            if section.name:
                named[section.name] = section
        words = section.head.words
        asked = words[words.index("from") + 1] if "from" in words[:-1] else ""
        yield section, named.get(asked, last) if asked else last


def read_fronts(config: Config) -> list[Front]:
    """The frontends that answer by themselves. Raises: ConfigError for conditions that cannot be."""
    diagnostics = Diagnostics()
    fronts = FrontReader(config, diagnostics).fronts()
    diagnostics.check()
    return fronts
