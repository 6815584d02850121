"""Targets of `risefall probe`: a URL and options to an address, a rule set, and what the connection goes through."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import click
import msgspec

from risefall.config.haproxy.check_options import OPTION_READERS
from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import CheckKind, Expect, ExpectRule, Header, HttpSendRule, Place, Rule, RuleSet
from risefall.config.text import Wrong

HERE = Place("command line", 1)
PORTS = {
    "http": 80, "https": 443, "redis": 6379, "mysql": 3306, "pgsql": 5432, "smtp": 25, "ldap": 389, "ssl-hello": 443,
    "grpcs": 443,
}  # fmt: skip
"""Ports that need not be written."""
PRESETS = {
    "redis": CheckKind.REDIS, "mysql": CheckKind.MYSQL, "pgsql": CheckKind.PGSQL, "smtp": CheckKind.SMTP,
    "ldap": CheckKind.LDAP, "spop": CheckKind.SPOP, "ssl-hello": CheckKind.SSL_HELLO,
}  # fmt: skip
HTTP_SCHEMES = frozenset(("http", "https"))
GRPC_SCHEMES = frozenset(("grpc", "grpcs"))
TLS_SCHEMES = frozenset(("tls", "https", "grpcs"))
BINARY_SCHEMES = frozenset(("mysql", "pgsql", "ldap", "spop", "ssl-hello", "grpc", "grpcs"))
"""Their bytes are told in hex, with text beside."""
SCHEMES = ("tcp", "tls", "http", "https", "agent", *PRESETS, "grpc", "grpcs")


class Target(msgspec.Struct, frozen=True):
    """A URL in parts. host: a name, an address, or the path of a socket (port 0). path: without what the socket took."""

    url: str
    scheme: str
    host: str
    port: int
    user: str = ""
    path: str = ""
    query: str = ""

    @property
    def tls(self) -> bool:
        return self.scheme in TLS_SCHEMES

    @property
    def authority(self) -> str:
        """HOST:PORT for a request."""
        if self.host.startswith("/"):
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """The host where it is a name, as SNI wants it."""
        try:
            ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return "" if self.host.startswith("/") else self.host
        return ""


def usage(message: str) -> click.UsageError:
    return click.UsageError(message)


def parse_target(url: str) -> Target:
    """Raises click.UsageError with what is wrong and what to write."""
    try:
        parts = urlsplit(url)
        given = parts.port
    except ValueError as error:
        raise usage(f"'{url}': {error}") from error
    if parts.scheme not in SCHEMES:
        raise usage(f"'{url}': the scheme is one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if parts.password is not None:
        raise usage(f"'{url}': HAProxy's checks know no password; leave it out")
    user = unquote(parts.username or "")
    if user and parts.scheme not in ("mysql", "pgsql"):
        raise usage(f"'{url}': only mysql:// and pgsql:// take a user")
    if not parts.hostname and not given and parts.path.startswith("/"):
        return Target(url, parts.scheme, unquote(parts.path), 0, user)
    port = PORTS.get(parts.scheme, 0) if given is None else given
    if not parts.hostname:
        raise usage(f"'{url}': no host; write {parts.scheme}://HOST:PORT, or {parts.scheme}:///path/of/a.sock")
    if not port:
        raise usage(f"'{url}': no port; write {parts.scheme}://{parts.hostname}:PORT")
    return Target(url, parts.scheme, unquote(parts.hostname), port, user, parts.path, parts.query)


# --- rule sets -----------------------------------------------------------------------------------------------


class HttpWords(msgspec.Struct, frozen=True):
    """What the options say about an http:// request and its answer."""

    method: str = "OPTIONS"
    version: str = "HTTP/1.0"
    headers: tuple[str, ...] = ()
    status: str = ""
    string: str = ""


def statuses(text: str) -> tuple[tuple[int, int], ...]:
    """`200,301-399` as ranges. Raises click.UsageError."""
    if not re.fullmatch(r"\d{3}(-\d{3})?(,\d{3}(-\d{3})?)*", text):
        raise usage(f"--expect-status '{text}': write numbers and ranges, such as 200,301-399")
    ranges = (item.partition("-") for item in text.split(","))
    return tuple((int(low), int(high or low)) for low, _, high in ranges)


def http_rules(target: Target, words: HttpWords) -> RuleSet:
    """The rule set of an http:// target: as `option httpchk METHOD URI VERSION` would make it."""
    pairs = []
    for header in words.headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise usage(f"--header '{header}': write 'Name: value'")
        pairs.append(Header(name.strip(), value.strip().replace("%", "%%")))
    uri = (target.path or "/") + (f"?{target.query}" if target.query else "")
    rules: list[Rule] = [HttpSendRule(HERE, 1, words.method, uri, version=words.version, headers=tuple(pairs))]
    if words.status:
        rules.append(ExpectRule(HERE, 2, Expect.STATUS, statuses=statuses(words.status)))
    if words.string:
        rules.append(ExpectRule(HERE, len(rules) + 1, Expect.STRING, pattern=words.string))
    return RuleSet(kind=CheckKind.HTTP, rules=tuple(rules))


def option_line(target: Target) -> Sequence[str]:
    """The words of the `option` that a preset's URL stands for."""
    rest = [unquote(part) for part in target.path.split("/") if part]
    match target.scheme:
        case "smtp":
            return ["smtpchk", *(["EHLO"] if rest else []), *rest]
        case "mysql":
            return ["mysql-check", *(["user", target.user] if target.user else []), *rest]
        case "pgsql":
            return ["pgsql-check", *(["user", target.user] if target.user else []), *rest]
        case "ssl-hello":
            return ["ssl-hello-chk", *rest]
        case scheme:
            return [f"{scheme}-check", *rest]


def rule_set(target: Target, words: HttpWords, dialect: Dialect) -> RuleSet:
    """The rules of a target that is no agent and no gRPC server. Raises click.UsageError."""
    if target.scheme in HTTP_SCHEMES:
        return http_rules(target, words)
    if target.scheme not in PRESETS:
        return RuleSet()
    kind = PRESETS[target.scheme]
    try:
        options = OPTION_READERS[kind](option_line(target), dialect)
    except Wrong as wrong:
        hint = f"; write {target.scheme}://USER@HOST" if target.scheme == "pgsql" and not target.user else ""
        raise usage(f"'{target.url}': {wrong.message}{hint}") from wrong
    return RuleSet(kind=kind, options=options)


# --- the way there ------------------------------------------------------------------------------------------


class Way(msgspec.Struct, frozen=True):
    """What the connection goes through. sni None: the host where it is a name; proxy: v1, v2 or nothing."""

    sni: str | None = None
    alpn: tuple[str, ...] = ()
    ca_file: str = ""
    verify: bool = True
    h2: bool = False
    proxy: str = ""
    socks4: str = ""

    @property
    def layered(self) -> bool:
        """Whether a header or a proxy comes before everything else."""
        return bool(self.proxy or self.socks4)

    def server_name(self, target: Target) -> str:
        return target.name if self.sni is None else self.sni


def fits(target: Target, way: Way) -> None:
    """Raises click.UsageError for options that mean nothing there."""
    if not target.tls and (way.sni is not None or way.alpn or way.ca_file or not way.verify):
        raise usage(
            f"--sni, --alpn, --ca-file and --insecure are for tls://, https:// and grpcs://, not {target.scheme}://"
        )
    if way.h2 and target.scheme not in HTTP_SCHEMES:
        raise usage("--proto h2 is for http:// and https://")
    if not way.layered:
        return
    if target.scheme == "agent":
        raise usage("HAProxy's agent checks know neither --proxy-protocol nor --socks4")
    if target.scheme in GRPC_SCHEMES:
        raise usage("--proxy-protocol and --socks4 do not go with gRPC")
    if target.tls and (way.h2 or "h2" in way.alpn):
        raise usage("--proxy-protocol and --socks4 do not go with HTTP/2 over TLS")


def split_host_port(text: str, option: str) -> tuple[str, int]:
    """`HOST:PORT`. Raises click.UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise usage(f"{option} '{text}': write HOST:PORT")
    return host.strip("[]"), int(port)
