"""Environment variables in addresses, which need no quotes (run on 2.6.12 and 3.0.11)."""

from __future__ import annotations

import pytest

from risefall.config.haproxy.added import read_added
from risefall.config.haproxy.dialect import DIALECTS
from risefall.config.haproxy.model import Address, Config
from risefall.config.haproxy.reader import read
from risefall.config.text import ConfigError, Source

ENV = {"HOST": "10.0.0.7", "PORT": "81", "EMPTY": ""}


def config_of(line: str, env: dict[str, str] | None = None) -> Config:
    return read(
        [Source("a.cfg", f"global\n  setenv OWN 10.0.0.9\nbackend b\n  {line}\n")], env=ENV if env is None else env
    )


def shown(address: Address | None) -> str:
    assert address is not None
    return f"{address.host}:{address.port}"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("${HOST}:80", "10.0.0.7:80"),
        ("$HOST:80", "10.0.0.7:80"),
        ("${HOST}:${PORT}", "10.0.0.7:81"),
        ("10.0.0.1:${PORT}8", "10.0.0.1:818"),
        ("${OWN}:80", "10.0.0.9:80"),
        ("ipv4@${HOST}:80", "10.0.0.7:80"),
        ("${EMPTY}:80", "0.0.0.0:80"),
        ("app-$PORT.example:80", "app-81.example:80"),
        ("/run/$PORT/app.sock", "/run/81/app.sock:0"),
    ],
)
def test_addresses_of_servers(word: str, expected: str) -> None:
    config = config_of(f"server s {word}")
    assert (shown(config.proxies[0].servers[0].address), list(config.warnings)) == (expected, [])


def test_what_is_not_set_is_empty_and_told() -> None:
    config = config_of("server s ${NOWHERE}:80 check")
    assert shown(config.proxies[0].servers[0].address) == "0.0.0.0:80"
    (warning,) = config.warnings
    assert "the environment variable 'NOWHERE' is not set, and HAProxy reads ':80'" in warning


def test_an_address_of_which_nothing_is_left() -> None:
    with pytest.raises(ConfigError, match=r"invalid address '\$NOWHERE'"):
        config_of("server s $NOWHERE")


def test_other_words_are_left_alone() -> None:
    (server,) = config_of("server s 10.0.0.1:80 check cookie $HOST weight 7").proxies[0].servers
    assert (server.settings.cookie, server.settings.weight) == ("$HOST", 7)


def test_addresses_behind_words() -> None:
    (server,) = config_of("server s 10.0.0.1:80 check addr ${HOST} port 8 socks4 $HOST:$PORT").proxies[0].servers
    assert shown(server.settings.addr) == "10.0.0.7:0"
    assert shown(server.settings.socks4) == "10.0.0.7:81"


def test_servers_of_the_runtime_api() -> None:
    proxy = config_of("balance random").proxies[0]
    added = read_added(proxy, "s", ["${HOST}:${PORT}"], DIALECTS["2.6"], "required", lambda wanted: 1, env=ENV)
    assert shown(added.address) == "10.0.0.7:81"


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        (":", True),
        ("0.0.0.0:", True),
        ("[::]:", True),
        (":+5", True),
        (": addr 0.0.0.0", True),
        (": addr 127.0.0.1", False),
        ("127.0.0.1:", False),
    ],
)
def test_a_port_is_not_wanted_of_no_address(words: str, fits: bool) -> None:
    """As is left of `${HOST}:${PORT}`: HAProxy finds the address of no machine, and asks for no port (run on 2.6.12)."""
    name, *others = words.split(" ", 1)
    line = " ".join(["server s", name, "check", *others])
    if fits:
        assert config_of(line).proxies[0].servers[0].address.port in (0, 5)
    else:
        with pytest.raises(ConfigError, match="has neither service port nor check port"):
            config_of(line)
