"""Proxies and what they inherit: spec §9.4, §9.5, §6.4."""

from __future__ import annotations

import pytest

from risefall.config.haproxy import plan, read
from risefall.config.haproxy.model import Config, Proxy
from risefall.config.text import Source
from risefall.errors import ConfigError


def config(text: str, dialect: str = "3") -> Config:
    return read([Source("t.cfg", text)], dialect=dialect)


def proxies(text: str, dialect: str = "3") -> dict[str, Proxy]:
    return {proxy.name: proxy for proxy in config(text, dialect).proxies}


def test_last_defaults_and_named_ones() -> None:
    found = proxies(
        "defaults a\n  mode http\n  timeout check 1s\ndefaults b from a\n  timeout connect 2s\ndefaults\n  timeout check 9s\n"
        "backend x\nbackend y from a\nbackend z from b\n"
    )
    told = {name: (p.mode, p.timeout_check_ms, p.timeout_connect_ms) for name, p in found.items()}
    assert told == {"x": ("tcp", 9000, None), "y": ("http", 1000, None), "z": ("http", 1000, 2000)}


def test_unknown_defaults_are_told() -> None:
    with pytest.raises(ConfigError, match=r"(?s)defaults section 'aa' not found for backend 'x'.*did you mean 'a'\?"):
        config("defaults a\nbackend x from aa\n")


def test_logs_accumulate() -> None:
    found = proxies(
        "global\n  log 10.0.0.1:514 local0\n  log /dev/log local1 info notice\ndefaults\n  log global\n  log stdout format raw daemon\n"
        "backend x\n  log stderr user\nbackend y\n  no log\n  log stderr user\n"
    )
    assert [target.address for target in found["x"].logs] == ["10.0.0.1:514", "/dev/log", "stdout", "stderr"]
    assert [target.address for target in found["y"].logs] == ["stderr"]
    assert (found["x"].logs[1].max_level, found["x"].logs[1].min_level) == ("info", "notice")


def test_ids() -> None:
    """Each proxy moves the next number on, one that has its own too."""
    found = proxies("frontend f\nbackend a\nbackend b\n  id 2\nbackend c\nlisten d\n")
    assert [(p.name, p.id, p.forced_id) for p in found.values()] == [
        ("f", 1, False), ("a", 3, False), ("b", 2, True), ("c", 5, False), ("d", 6, False),
    ]  # fmt: skip
    stats = proxies("global\n  stats socket /run/x\nfrontend f\nbackend a\nbackend b\n  id 2\nbackend c\nlisten d\n")
    assert [p.id for p in stats.values()] == [3, 4, 2, 6, 7]  # as haproxy 2.6 says


def test_disabled_proxies_are_planned_as_disabled() -> None:
    found = config("backend a\n  disabled\n  server s1 1.1.1.1:1 check\n")
    assert [server.disabled for server in plan(found)] == [True]


def test_old_files_are_read_and_told() -> None:
    text = (
        "global\n  nbproc 2\ndefaults\n  contimeout 5000\nfrontend main *:80\n  reqadd X-A:\\ b\n  appsession JSESSIONID len 52\n"
        "  default_backend a\nbackend a\n  server s1 1.1.1.1:1 check"
    )
    found = config(text)
    assert found.proxies[1].timeout_connect_ms == 5000
    told = "\n".join(found.warnings)
    for words in ("'nbproc' is gone since HAProxy 2.5", "'contimeout' is gone since HAProxy 2.1", "'reqadd' is gone",
                  "'appsession' is gone since HAProxy 1.6", "addresses in the section line", "missing line feed"):  # fmt: skip
        assert words in told


def test_what_needs_a_backend_is_ignored_in_a_frontend() -> None:
    (warning,) = config("frontend f\n  option httpchk\n").warnings
    assert "'httpchk' ignored because frontend 'f' has no backend capability" in warning


def test_unknown_words_name_the_nearest() -> None:
    (warning,) = config("backend b\n  balnce roundrobin\n").warnings
    assert "did you mean 'balance'?" in warning


def test_the_tree_keeps_every_word() -> None:
    found = config('frontend f\n  bind *:80 ssl # why\n  acl a path_beg "/x y"\n')
    (section,) = found.tree
    assert [line.words for line in section.lines] == [("bind", "*:80", "ssl"), ("acl", "a", "path_beg", "/x y")]
    assert section.lines[1].raw == '  acl a path_beg "/x y"'
    assert (section.lines[1].file, section.lines[1].line) == ("t.cfg", 3)


@pytest.mark.parametrize("line", ["stats socket /run/x", "stats timeout 5s", "stats maxconn 9"])
def test_any_line_of_the_runtime_socket_takes_the_first_id(line: str) -> None:
    """HAProxy makes the frontend of its socket when it reads the first of them."""
    assert proxies(f"global\n {line}\nbackend b\n")["b"].id == 2


@pytest.mark.parametrize(
    ("defaults", "lines", "rules"),
    [
        ("option tcp-check\n tcp-check connect port 5", "", 1),
        ("option tcp-check\n tcp-check connect port 5", " option tcp-check\n", 1),
        ("option tcp-check\n tcp-check connect port 5", " option smtpchk\n option tcp-check\n", 0),
        ("tcp-check connect port 5", " option tcp-check\n", 0),
        ("option tcp-check\n tcp-check connect port 5", " tcp-check send x\n", 1),
    ],
)
def test_which_tcp_checks_of_defaults_hold(defaults: str, lines: str, rules: int) -> None:
    """In 2.6, as its verdict on a server without a port shows."""
    found = proxies(f"defaults\n {defaults}\nbackend b\n{lines}", "2.6")["b"].checks
    assert len(found.rules) == rules
