"""`resolvers` sections and the words of server lines that go with them."""

from __future__ import annotations

import pytest

from risefall.config.haproxy import plan, read
from risefall.config.haproxy.model import Config, Family
from risefall.config.text import Source
from risefall.errors import ConfigError

HEAD = "resolvers r\n"


def config(text: str) -> Config:
    return read([Source("c", text)], dialect="2.6")


def test_a_whole_section() -> None:
    found = config(
        HEAD
        + " nameserver a 10.0.0.1:53\n nameserver b tcp@[::1]:5353\n nameserver c udp@10.0.0.2:53\n parse-resolv-conf\n"
        " resolve_retries 5\n timeout resolve 2s\n timeout retry 300\n accepted_payload_size 4096\n"
        " hold valid 1s\n hold nx 2s\n hold refused 3s\n hold timeout 4s\n hold other 5s\n hold obsolete 6s\n"
    ).resolvers["r"]
    assert [(one.name, one.address.host, one.address.port, one.stream) for one in found.nameservers] == [
        ("a", "10.0.0.1", 53, False),
        ("b", "::1", 5353, True),
        ("c", "10.0.0.2", 53, False),
    ]
    assert found.nameservers[1].address.family is Family.IPV6
    assert (found.parse_resolv_conf, found.retries, found.resolve_ms, found.retry_ms, found.payload_bytes) == (
        True, 5, 2000, 300, 4096,
    )  # fmt: skip
    holds = [getattr(found, f"hold_{event}_ms") for event in ("valid", "nx", "refused", "timeout", "other", "obsolete")]
    assert holds == [1000, 2000, 3000, 4000, 5000, 6000]


def test_the_section_that_is_there_unasked() -> None:
    found = config("backend b\n server s a.test:80 resolvers default\n").resolvers["default"]
    assert found.parse_resolv_conf
    assert not found.nameservers


def test_servers_say_what_they_want() -> None:
    found = config(
        f"{HEAD}backend b\n default-server resolvers r resolve-prefer ipv4 resolve-net 10.0.0.0/8,127.0.0.1\n"
        " server s a.test:80 resolve-opts allow-dup-ip,ignore-weight\n"
        " server t a.test:80 resolve-opts allow-dup-ip,prevent-dup-ip\n"
    )
    first, second = (server.config.settings for server in plan(found))
    assert (first.resolvers, first.resolve_prefer) == ("r", "ipv4")
    assert first.resolve_net == ("10.0.0.0/8", "127.0.0.1/32")
    assert (first.resolve_dup_ip, first.resolve_ignore_weight) == (True, True)
    assert (second.resolve_dup_ip, second.resolve_ignore_weight) == (False, False)


def test_services_bring_their_ports() -> None:
    """A check of servers that are filled in by SRV records needs no port in the file, nor does one of any name."""
    text = "backend b\n server-template t 3 _h._tcp.a.test check resolvers r\n"
    assert len(config(HEAD + text).proxies[0].servers) == 3
    assert len(config(text.replace(" resolvers r", "")).proxies[0].servers) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nameserver a", "2:15.*'nameserver' expects <name> and <addr>"),
        ("nameserver a 10.0.0.1", "missing port specification in '10.0.0.1'"),
        ("nameserver a /run/dns.sock", "a name server wants an IP address"),
        ("nameserver a 10.0.0.1:53\n nameserver a 10.0.0.2:53", "3:13.*'a' has same name as another nameserver"),
        ("hold nx", "'hold' expects an <event> and a <time> as arguments"),
        ("hold nix 1s", "(?s)'hold' unknown <event>: 'nix'.*did you mean 'nx'"),
        ("hold nx soon", "'hold nx' wants a time, got 'soon'"),
        ("timeout retry", "'timeout' expects 'retry' or 'resolve' and <time>"),
        ("timeout retri 1s", "(?s)got 'retri'.*did you mean 'retry'"),
        ("resolve_retries", "'resolve_retries' expects <nb> as argument"),
        ("accepted_payload_size much", "'accepted_payload_size' expects an integer argument"),
        ("accepted_payload_size 5", "must be between 12 and 65535 inclusive .was 5."),
        (
            "nameservr a 10.0.0.1:53",
            "(?s)unknown keyword 'nameservr' in 'resolvers' section.*did you mean 'nameserver'",
        ),
    ],
)
def test_what_is_wrong(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(f"{HEAD} {line}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("resolve-opts alow-dup-ip", "(?s)unknown resolve-opts option 'alow-dup-ip'.*did you mean 'allow-dup-ip'"),
        ("resolve-net here", "'resolve-net' invalid network 'here'"),
        ("resolve-prefer ipv5", "'resolve-prefer' expects"),
        ("resolvers q", "unable to find required resolvers 'q'"),
    ],
)
def test_what_is_wrong_of_servers(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(f"{HEAD}backend b\n server s a.test:80 resolvers r {words}\n")


def test_a_name_server_that_is_a_name_is_left_out() -> None:
    """HAProxy looks it up once, while it starts."""
    found = config(f"{HEAD} nameserver a dns.test:53\n nameserver b 10.0.0.1:53\n")
    assert [one.name for one in found.resolvers["r"].nameservers] == ["b"]
    assert "is left out: 'dns.test:53'" in found.warnings[0]


def test_sections_have_distinct_names() -> None:
    with pytest.raises(ConfigError, match="resolvers 'r' has same name as another resolvers"):
        config(HEAD + HEAD)
    with pytest.raises(ConfigError, match="missing name for resolvers section"):
        config("resolvers\n")
