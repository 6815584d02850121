"""Every form of address: spec §9.6, trap 56."""

from __future__ import annotations

import pytest

from risefall.config.haproxy.address import parse_address
from risefall.config.haproxy.model import Address, Family
from risefall.config.text import Wrong

ROWS = [
    ("1.2.3.4:80", Address(Family.IPV4, "1.2.3.4", 80)),
    ("1.2.3.4", Address(Family.IPV4, "1.2.3.4", 0, True)),
    ("1.2.3.4:0", Address(Family.IPV4, "1.2.3.4", 0, True)),
    ("1.2.3.4:+5", Address(Family.IPV4, "1.2.3.4", 5, True)),
    ("1.2.3.4:-5", Address(Family.IPV4, "1.2.3.4", -5, True)),
    ("127.1:80", Address(Family.IPV4, "127.0.0.1", 80)),
    ("1:80", Address(Family.IPV4, "0.0.0.1", 80)),
    ("010.0.0.1:80", Address(Family.IPV4, "8.0.0.1", 80)),
    ("[::1]:80", Address(Family.IPV6, "::1", 80)),
    ("::1:80", Address(Family.IPV6, "::1", 80)),
    ("2001:db8::7:443", Address(Family.IPV6, "2001:db8::7", 443)),
    ("[2001:DB8:0:0::7]", Address(Family.IPV6, "2001:db8::7", 0, True)),
    ("[::ffff:1.2.3.4]:80", Address(Family.IPV6, "::ffff:1.2.3.4", 80)),
    ("*:80", Address(Family.IPV4, "0.0.0.0", 80)),
    (":80", Address(Family.IPV4, "0.0.0.0", 80)),
    ("ipv6@:80", Address(Family.IPV6, "::", 80)),
    ("ipv4@1.2.3.4:80", Address(Family.IPV4, "1.2.3.4", 80)),
    ("tcp4@1.2.3.4:80", Address(Family.IPV4, "1.2.3.4", 80)),
    ("host.example:80", Address(Family.NAME, "host.example", 80)),
    ("app_1:80", Address(Family.NAME, "app_1", 80)),
    ("10gen.example", Address(Family.NAME, "10gen.example", 0, True)),
    ("ipv6@host:80", Address(Family.NAME, "host", 80, False, Family.IPV6)),
    ("/run/app.sock", Address(Family.UNIX, "/run/app.sock")),
    ("unix@/run/app.sock", Address(Family.UNIX, "/run/app.sock")),
    ("unix@run/app.sock", Address(Family.UNIX, "run/app.sock")),
    ("abns@name", Address(Family.ABNS, "name")),
]


@pytest.mark.parametrize(("text", "expected"), ROWS)
def test_address(text: str, expected: Address) -> None:
    assert parse_address(text, 0) == expected


@pytest.mark.parametrize(
    "text",
    ["1.2.3.4:65536", "1.2.3.4:http", "1.2.3.4:1-2", "[::1", "[::1]x", "fd@3", "udp4@1.2.3.4:5", "x@1.2.3.4:5", "/" + "a" * 97, "a b:80"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(Wrong) as raised:
        parse_address(text, 2)
    assert raised.value.at == 2
    assert raised.value.help


def test_unspecified() -> None:
    assert parse_address("*:80", 0).unspecified
    assert not parse_address("1.2.3.4:80", 0).unspecified
