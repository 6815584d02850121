"""Values of server words that need reading: networks, sources, methods of init-addr, options of resolving and of the PROXY header.

Source: spec/haproxy-checks.md §9.6; haproxy configuration manual 2.6, §5.2.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

import msgspec

from risefall.config.haproxy.address import numeric, parse_address
from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import Address, Family, Source
from risefall.config.haproxy.units import integer
from risefall.config.text import Wrong, nearest

Fields = dict[str, object]

MUXES = ("none", "h1", "h2", "fcgi")
MUXES_NEWER = ("spop", "quic")
PROXY_OPTIONS = (
    "ssl", "cert-cn", "ssl-cipher", "cert-sig", "cert-key", "authority", "crc32c", "unique-id",
)  # fmt: skip
RESOLVE_OPTS: dict[str, tuple[str, bool]] = {
    "allow-dup-ip": ("resolve_dup_ip", True),
    "prevent-dup-ip": ("resolve_dup_ip", False),
    "ignore-weight": ("resolve_ignore_weight", True),
}


def check_init_addr(value: str, at: int) -> None:
    for method in value.split(","):
        if method in ("last", "libc", "none"):
            continue
        try:
            ipaddress.ip_address(method.strip("[]"))
        except ValueError:
            raise Wrong(
                f"unknown init-addr method '{method}', supported methods are 'libc', 'last', 'none'",
                at,
                help="or an IP address, as the last one",
            ) from None


def check_mux(word: str, value: str, at: int, dialect: Dialect) -> None:
    """Raises Wrong for a protocol that HAProxy does not speak to servers."""
    known = MUXES + (MUXES_NEWER if dialect.healthcheck_sections else ())
    if value not in known:
        raise Wrong(f"'{word}' :  unknown MUX protocol '{value}'", at, help="known are " + ", ".join(known))


def check_proxy_options(value: str, at: int) -> None:
    """Raises Wrong for an unknown option of the PROXY header."""
    for option in value.split(","):
        if option not in PROXY_OPTIONS:
            meant = nearest(option, PROXY_OPTIONS)
            raise Wrong(
                f"'{option}' : proxy v2 option not implemented",
                at,
                help=f"did you mean '{meant}'?" if meant else "known are " + ", ".join(PROXY_OPTIONS),
            )


def read_networks(value: str, at: int) -> tuple[str, ...]:
    """`resolve-net <net>[,<net>]*`, each with its length."""
    networks = []
    for text in value.split(","):
        try:
            networks.append(str(ipaddress.ip_network(text.strip(), strict=False)))
        except ValueError:
            raise Wrong(f"'resolve-net' invalid network '{text}'", at, help="such as 10.0.0.0/8") from None
    return tuple(networks)


def read_resolve_opts(value: str, at: int) -> Fields:
    """`resolve-opts <opt>[,<opt>]*`."""
    fields: Fields = {}
    for word in value.split(","):
        if word not in RESOLVE_OPTS:
            meant = nearest(word, RESOLVE_OPTS)
            raise Wrong(
                f"unknown resolve-opts option '{word}', supported methods are 'allow-dup-ip', 'ignore-weight', and "
                "'prevent-dup-ip'",
                at,
                help=f"did you mean '{meant}'?" if meant else "separate several by commas",
            )
        name, on = RESOLVE_OPTS[word]
        fields[name] = on
    return fields


def host_only(text: str, at: int) -> Address:
    """An address without a port: of the agent."""
    found = numeric(text.strip("[]"))
    if found:
        return Address(found[0], found[1])
    address = parse_address(text, at)
    if address.port or ":" in text or address.family in (Family.UNIX, Family.ABNS):
        raise Wrong(
            f"parsing agent-addr failed. Check if '{text}' is correct address",
            at,
            help="write an address without a port, and agent-port behind it",
        )
    return msgspec.structs.replace(address, mapped=False)


def read_source(words: Sequence[str], at: int, *, ranges: bool = True) -> tuple[Source, int]:
    """`source <addr>[:<port>[-<port>]] [usesrc ...] [interface <if>]` at word `at`; and where the next word stands.

    ranges: two ports are permitted, as on a server's line.
    """
    if at + 1 >= len(words):
        raise Wrong("'source' expects <addr>[:<port>[-<port>]]", len(words), help="such as source 10.0.0.1")
    text, port_max = words[at + 1], 0
    low = re.fullmatch(r"(.*:)([0-9]+)-([0-9]+)", text)
    if low and ranges:
        text, port_max = low.group(1) + low.group(2), integer(low.group(3))
        if not integer(low.group(2)) <= port_max <= 65535:
            raise Wrong(
                f"'source' wants a port range in order, got '{words[at + 1]}'",
                at + 1,
                help="such as source 10.0.0.1:20000-30000",
            )
    address = parse_address(text, at + 1, offset=False)
    usesrc: tuple[str, ...] = ()
    interface = ""
    at += 2
    while at + 1 < len(words) and words[at] in ("usesrc", "interface"):
        if words[at] == "interface":
            interface = words[at + 1]
        else:
            usesrc = (words[at + 1],)
        at += 2
    return Source(address, port_max, interface, usesrc), at
