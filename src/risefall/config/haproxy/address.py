"""Every form of address that a haproxy.cfg may hold.

Source: spec/haproxy-checks.md §9.6, §2.5; haproxy configuration manual 2.6, §11 (address formats).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from risefall.config.haproxy.model import Address, Family
from risefall.config.haproxy.units import c_int
from risefall.config.text import Wrong, nearest

PORT_MAX = 65535
UNIX_PATH_BYTES_MAX = 97
ANY = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}
NAME = re.compile(r"(?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+\.?")
OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
PLAIN_IPV4 = re.compile(rf"({OCTET}(?:\.{OCTET}){{3}}):(\d{{1,5}})", re.ASCII)
NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,8}|0[0-7]{0,11}|[1-9][0-9]{0,9}")
PREFIXES: dict[str, Family | None] = {
    "ipv4": Family.IPV4, "tcp4": Family.IPV4, "mptcp4": Family.IPV4,
    "ipv6": Family.IPV6, "tcp6": Family.IPV6, "mptcp6": Family.IPV6,
    "tcp": None, "mptcp": None, "stream+ipv4": Family.IPV4, "stream+ipv6": Family.IPV6,
    "unix": Family.UNIX, "uxst": Family.UNIX, "stream+unix": Family.UNIX, "abns": Family.ABNS, "abnsz": Family.ABNS,
    "fd": Family.FD, "sockpair": Family.FD,
}  # fmt: skip
DATAGRAM = frozenset(("udp", "udp4", "udp6", "quic4", "quic6", "uxdg", "dgram+ipv4", "dgram+ipv6", "dgram+unix"))


def numeric(text: str) -> tuple[Family, str] | None:
    """A numeric address in canonical form; IPv4 also in the short forms of inet_aton (`127.1`)."""
    if ":" in text:
        try:
            found = ipaddress.IPv6Address(text.partition("%")[0])
        except ValueError:
            return None
        mapped = found.ipv4_mapped
        return Family.IPV6, f"::ffff:{mapped}" if mapped else str(found)
    return inet_aton(text)


def inet_aton(text: str) -> tuple[Family, str] | None:
    """One to four numbers, decimal, octal or hexadecimal; the last fills what is left of the 32 bits."""
    parts = text.split(".")
    if len(parts) > 4:
        return None
    numbers = []
    for part in parts:
        found = NUMBER.fullmatch(part)
        if not found:
            return None
        digits = found.group()
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
        numbers.append(int(digits, base))
    *heads, tail = numbers
    if any(head > 255 for head in heads) or tail >= 256 ** (4 - len(heads)):
        return None
    value = sum(head << (24 - 8 * place) for place, head in enumerate(heads)) + tail
    return Family.IPV4, str(ipaddress.IPv4Address(value))


@lru_cache(maxsize=4096)
def _port(text: str, whole: str) -> tuple[int, bool]:
    """A port and whether it is only an offset. Raises ValueError with the reason."""
    if not text:
        return 0, True
    offset = text[0] in "+-"
    if not offset and not "0" <= text[0] <= "9":
        raise ValueError(f"invalid character '{text[0]}' in port number '{text}' in '{whole}'")
    if not offset and "-" in text:
        raise ValueError(f"port range not permitted here in '{whole}'")
    number = c_int(text[1:] if offset else text)  # which drops what stands behind the digits
    if not offset and not 0 <= number <= PORT_MAX:
        raise ValueError(f"invalid port '{text}' in '{whole}'")
    return (-number if text[0] == "-" else number), offset


def parse_address(text: str, at: int | None, *, server: bool = True, offset: bool = True) -> Address:
    """An address with its port.

    server: of a server or of a check, where descriptors and datagrams are refused. offset: a port may be one (`+N`, `-N`), as
    only a server's own may. Raises Wrong.
    """
    plain = PLAIN_IPV4.fullmatch(text)
    if plain:
        port = int(plain.group(2))
        if 0 < port <= PORT_MAX:
            return Address(Family.IPV4, plain.group(1), port)
    address = _parse(text, at, server=server)
    if (
        address.mapped
        and not offset
        and address.family is not Family.UNIX
        and text.rpartition(":")[2][:1] in ("+", "-")
    ):
        raise Wrong(f"port offset not permitted here in '{text}'", at, help="write the port itself")
    return address


def _parse(text: str, at: int | None, *, server: bool) -> Address:
    prefix, sign, rest = text.partition("@")
    family: Family | None = None
    if sign and "/" not in prefix:
        if prefix in DATAGRAM and server:
            raise Wrong(
                f"dgram-type address not acceptable in '{text}'",
                at,
                help="a server takes a stream address, such as 10.0.0.7:80",
            )
        if prefix not in PREFIXES and prefix not in DATAGRAM:
            meant = nearest(prefix, PREFIXES)
            raise Wrong(
                f"unknown address prefix '{prefix}@'",
                at,
                help=f"did you mean '{meant}@'?" if meant else "known are ipv4@, ipv6@, unix@, abns@",
            )
        family = PREFIXES.get(prefix)
        text, whole = rest, text
    else:
        whole = text
    if family is Family.FD:
        if server:
            raise Wrong(
                f"a file descriptor is not acceptable here in '{whole}'",
                at,
                help="give an address that can be connected to",
            )
        return Address(Family.FD, text)
    if family is Family.UNIX or (family is None and text.startswith("/")):
        if len(text.encode("utf-8", "surrogateescape")) > UNIX_PATH_BYTES_MAX:
            raise Wrong(f"socket path '{text}' too long (max {UNIX_PATH_BYTES_MAX})", at, help="use a shorter path")
        return Address(Family.UNIX, text)
    if family is Family.ABNS:
        return Address(Family.ABNS, text)
    return _inet(text, whole, family, at)


def _inet(text: str, whole: str, family: Family | None, at: int | None) -> Address:
    """Host and port; the last colon separates the port, also behind a bare IPv6 address."""
    if text.startswith("["):
        host, bracket, behind = text[1:].partition("]")
        if not bracket:
            raise Wrong(f"missing ']' in '{whole}'", at, help="write an IPv6 address with a port as [address]:port")
        if behind and not behind.startswith(":"):
            raise Wrong(f"unexpected '{behind}' behind ']' in '{whole}'", at, help="write [address]:port")
        port_text = behind[1:]
    elif ":" in text:
        host, _, port_text = text.rpartition(":")
    else:
        host, port_text = text, ""
    try:
        port, mapped = _port(port_text, whole)
    except ValueError as error:
        raise Wrong(str(error), at, help="a port is a number of 1 to 65535, +N or -N") from None
    if port == 0 and not mapped:
        mapped = True  # HAProxy takes port 0 for none at all
    if host in ("", "*"):
        wanted = family or Family.IPV4
        return Address(wanted, ANY[wanted], port, mapped)
    found = numeric(host)
    if found:
        if family and found[0] is not family:
            raise Wrong(
                f"could not resolve address '{host}' as IPv{int(family)}",
                at,
                help="the prefix and the address do not fit together",
            )
        return Address(found[0], found[1], port, mapped)
    if not NAME.fullmatch(host):
        raise Wrong(
            f"invalid address '{host}' in '{whole}'",
            at,
            help="write an IP address, a host name, or /path of a UNIX socket",
        )
    return Address(Family.NAME, host, port, mapped, family)
