"""Server lines: spec §9.6, §9.8, traps 21, 22, 42, 46."""

from __future__ import annotations

import re

import pytest

from risefall.config.haproxy import PlannedServer, plan, read
from risefall.config.haproxy.model import Address, Family
from risefall.config.haproxy.model import Source as From
from risefall.config.text import Source
from risefall.errors import ConfigError


def servers(lines: str, dialect: str = "3") -> list[PlannedServer]:
    return plan(read([Source("t.cfg", f"backend b\n{lines}\n")], dialect=dialect))


def one(tail: str, dialect: str = "3") -> PlannedServer:
    return servers(f"    server s1 10.0.0.7:80 {tail}", dialect)[0]


def test_default_server_reaches_only_what_follows() -> None:
    found = servers(
        "default-server inter 1s\nserver a 1.1.1.1:1 check\ndefault-server fall 5\nserver b 1.1.1.1:1 check inter 3s\n"
        "default-server inter 4s\nserver c 1.1.1.1:1 no-check check"
    )
    assert [(s.inter_ms, s.fall, s.check) for s in found] == [(1000, 3, True), (3000, 5, True), (4000, 5, True)]


def test_from_says_what_a_line_begins_with() -> None:
    """HAProxy 3.5; the story of its from_keyword.vtc."""
    text = (
        "backend a\ndefault-server weight 30\nbackend b\ndefault-server weight 10\ndefault-server inter 5s\n"
        "server s1 1.1.1.1:1 check\nserver s2 1.1.1.1:1 from none check\nserver s3 1.1.1.1:1 from be:a check\n"
        "server s4 1.1.1.1:1 from be: check fall 9\nserver s5 1.1.1.1:1 from be:b check\n"
        "default-server from none fall 7\nserver s6 1.1.1.1:1 check\nserver-template t 1 1.1.1.1:1 from be:a check\n"
    )
    found = plan(read([Source("t.cfg", text)], dialect="3"))
    told = [(one.config.settings.weight, one.inter_ms, one.fall) for one in found]
    assert told == [
        (10, 5000, 3), (1, 2000, 3), (30, 2000, 3), (10, 5000, 9), (10, 5000, 3), (1, 2000, 7), (30, 2000, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tail", "dialect", "text"),
    [
        ("from", "3", "from: missing value"),
        ("from be:nope", "3", "from: unknown backend instance 'nope'"),
        ("from srv:x", "3", "invalid 'srv:x' value for 'from' keyword"),
        ("from none from none", "3", "'from' keyword can only be specified once"),
        ("check from none", "3", "unknown keyword 'from'"),
        ("from none", "2.6", "unknown keyword 'from'"),
    ],
)
def test_from_is_refused(tail: str, dialect: str, text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        one(tail, dialect)


def test_flags_are_undone() -> None:
    found = servers(
        "default-server check agent-check agent-port 9 backup disabled ssl verify none send-proxy\n"
        "server a 1.1.1.1:1 no-check no-agent-check no-backup enabled no-ssl no-send-proxy\nserver b 1.1.1.1:1"
    )
    told = [(s.check, s.agent, s.backup, s.disabled, s.ssl, s.send_proxy) for s in found]
    assert told == [(False,) * 6, (True,) * 6]


def test_ids_leave_holes() -> None:
    lines = "\n".join(f"server s{i} 1.1.1.1:1{' id 100' if i == 2 else ' id 4' if i == 3 else ''}" for i in range(6))
    assert [s.config.id for s in servers(lines)] == [1, 2, 100, 4, 5, 6]


def test_template() -> None:
    found = servers("server-template z- 0-2 host.example:80 check inter 3s id 7\nserver-template w 2 host.example:81")
    assert [(s.config.name, s.config.id, s.check) for s in found] == [
        ("z-0", 7, True), ("z-1", 8, True), ("z-2", 9, True), ("w1", 4, False), ("w2", 5, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tail", "check", "agent"),
    [
        ("check", ("10.0.0.7", 80), None),
        ("check port 81", ("10.0.0.7", 81), None),
        ("check addr 10.0.0.8", ("10.0.0.8", 80), None),
        ("check addr 10.0.0.8:82", ("10.0.0.8", 82), None),
        ("check addr 10.0.0.8:82 port 83", ("10.0.0.8", 83), None),
        ("check agent-check agent-port 9", ("10.0.0.7", 80), ("10.0.0.7", 9)),
        ("check agent-check port 81 addr 10.0.0.8", ("10.0.0.8", 81), ("10.0.0.8", 81)),
        ("check agent-check agent-addr 10.0.0.9 agent-port 9 port 81 addr 10.0.0.8", ("10.0.0.8", 81), ("10.0.0.9", 9)),
    ],
)
def test_where_checks_go(tail: str, check: tuple[str, int], agent: tuple[str, int] | None) -> None:
    found = one(tail)
    assert found.check_addr is not None
    assert (found.check_addr.host, found.check_port) == check
    assert (found.agent_addr and (found.agent_addr.host, found.agent_port)) == agent


@pytest.mark.parametrize(
    ("tail", "ssl", "proxy"),
    [
        ("check ssl verify none send-proxy", True, True),
        ("check ssl verify none send-proxy port 81", False, False),
        ("check ssl verify none addr 10.0.0.8", False, False),
        ("check check-ssl verify none port 81", True, False),
        ("check ssl verify none no-check-ssl", False, False),
        ("check send-proxy-v2 port 81 check-send-proxy", False, True),
    ],
)
def test_what_the_check_inherits(tail: str, ssl: bool, proxy: bool) -> None:
    found = one(tail)
    assert (found.ssl, found.send_proxy) == (ssl, proxy)


def test_source() -> None:
    found = one("check source 10.0.0.1:2000-3000 interface eth0 weight 5")
    assert found.source == From(Address(Family.IPV4, "10.0.0.1", 2000), 3000, "eth0")
    assert found.weight == 5


def test_paces() -> None:
    found = one("check inter 5 fastinter 1s downinter 2s agent-check agent-port 9", "2.6")
    assert (found.inter_ms, found.fastinter_ms, found.downinter_ms, found.agent_inter_ms) == (5, 1000, 2000, 5)


def test_lenient_numbers_are_told() -> None:
    config = read([Source("t.cfg", "backend b\n    server s1 1.1.1.1:1 check rise 2x\n")])
    assert config.proxies[0].servers[0].settings.rise == 2
    assert "HAProxy reads '2x' as 2" in config.warnings[0]


def test_observed_layer7_without_http_is_told() -> None:
    """HAProxy alerts there, and starts."""
    config = read([Source("t.cfg", "backend b\n    server s1 1.1.1.1:1 check observe layer7\n")])
    assert "'layer7' can only be used in http proxies" in config.warnings[0]


def test_socks4_for_checks_without_a_proxy_is_told() -> None:
    config = read([Source("t.cfg", "backend b\n    server s1 1.1.1.1:1 check check-via-socks4\n")])
    assert "'check-via-socks4' wants the address of a proxy" in config.warnings[0]
    assert not plan(config)[0].via_socks4
    assert one("check check-via-socks4 socks4 10.0.0.1:1080").via_socks4


def test_an_id_for_all_servers_is_told() -> None:
    config = read([Source("t.cfg", "backend b\n    default-server id 0\n    server s1 1.1.1.1:1\n")])
    assert "'id' option is not accepted in default-server sections" in config.warnings[0]
    assert config.proxies[0].servers[0].id == 1


def test_small_times_without_unit_are_told_by_newer_versions() -> None:
    text = "backend b\n    server s1 1.1.1.1:1 check inter 2\n"
    assert "means 2 milliseconds" in read([Source("t.cfg", text)], dialect="3").warnings[0]
    assert read([Source("t.cfg", text)], dialect="2.6").warnings == ()


def test_servers_that_say_the_same_share_their_settings() -> None:
    first, second = servers("server a 1.1.1.1:1 check inter 3s\nserver b 1.1.1.2:1 check inter 3s")
    assert first.config.settings is second.config.settings


NEWER = [
    ("mode log\n  server s udp@10.0.0.7:514 check", Address(Family.IPV4, "10.0.0.7", 514)),
    ("mode log\n  server s udp6@[::1]:514", Address(Family.IPV6, "::1", 514)),
    ("mode log\n  server-template s 1 udp4@10.0.0.7:514", Address(Family.IPV4, "10.0.0.7", 514)),
    (
        "server s 10.0.0.7:80 send-proxy-v2 set-proxy-v2-tlv-fmt(0xE1) %[str(a)] set-proxy-v2-tlv-fmt(0xE2)",
        Address(Family.IPV4, "10.0.0.7", 80),
    ),
]


@pytest.mark.parametrize(("lines", "address"), NEWER)
def test_servers_of_today(lines: str, address: Address) -> None:
    """Loggers are checked where they would be without `udp@` (run on 3.0.11)."""
    text = f"backend b\n  {lines}\n"
    assert read([Source("a.cfg", text)], dialect="3").proxies[0].servers[0].address == address
    with pytest.raises(ConfigError):
        read([Source("a.cfg", text)], dialect="2.6")


def test_datagrams_are_for_logs() -> None:
    with pytest.raises(ConfigError, match="dgram-type address not acceptable"):
        read([Source("a.cfg", "backend b\n  mode tcp\n  server s udp@10.0.0.7:514\n")], dialect="3")


@pytest.mark.parametrize(
    ("tail", "port", "agent_port"),
    [
        ("check port 70000", 4464, 0), ("check port -1", 65535, 0), ("check port 65536", 80, 0), ("check port 8080x", 8080, 0),
        ("check agent-check port 70000", 4464, 4464), ("check agent-check agent-port 99999999999", 80, 59391),
    ],
)  # fmt: skip
def test_sixteen_bits_of_a_port_count(tail: str, port: int, agent_port: int) -> None:
    """As `show servers state` of 2.6.12 shows them."""
    found = one(tail, "2.6")
    assert (found.check_port, found.agent_port) == (port, agent_port)


@pytest.mark.parametrize(
    ("tail", "weight"),
    [("weight", 0), ("weight 3x", 3), ("weight 4294967298", 2), ("weight 50%", 50), ("weight +7", 7)],
)
def test_numbers_are_read_as_by_atol(tail: str, weight: int) -> None:
    assert one(tail).weight == weight


@pytest.mark.parametrize(
    ("count", "names"),
    [("2x", ["z1", "z2"]), ("2-3-9", ["z2", "z3"]), ("x-1", ["z0", "z1"]), ("+1", ["z1"]), ("1- 2", ["z1", "z2"])],
)
def test_counts_of_templates_are_lenient(count: str, names: list[str]) -> None:
    assert [s.config.name for s in servers(f'server-template z "{count}" 10.0.0.7:80')] == names


def test_a_source_may_be_a_name() -> None:
    found = one("check source here.example:0")
    assert found.source is not None
    assert (found.source.addr.family, found.source.addr.host) == (Family.NAME, "here.example")


@pytest.mark.parametrize("address", ["quic4@10.0.0.7:443", "rhttp@"])
def test_addresses_that_no_check_reaches(address: str) -> None:
    """Servers of HAProxy 3; 2.6 has none of them."""
    (found,) = servers(f"server s1 {address} check")
    assert (found.config.address, found.check_port) == (Address(Family.ELSEWHERE, address), 0)
    with pytest.raises(ConfigError):
        servers(f"server s1 {address} check", "2.6")
