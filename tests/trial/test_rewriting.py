"""A configuration moved onto played ports: the same checks and paces, and nothing of its own addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from risefall.cli.loading import load_text
from risefall.config.haproxy.plan import Loaded
from risefall.errors import StartError
from risefall.trial.rewriting import Stage, Writer, must_stay, quoted, stage_of

CONFIG = r"""
global
    log 192.0.2.1:514 local0
    stats socket /run/never.sock
    chroot /nowhere
    tune.bufsize 8192
defaults base
    mode http
    log global
    source 192.0.2.9
    timeout connect 200ms
    timeout check 300ms
    default-server inter 1s fastinter 300ms rise 3 fall 2 port 8080 resolvers dns
frontend www
    bind 192.0.2.2:80
    default_backend web
resolvers dns
    nameserver a 192.0.2.3:53
backend web from base
    option httpchk
    http-check send meth GET uri /a\ b hdr Host "x y"
    http-check expect rstring '^all is #1$'
    email-alert mailers m
    server one one.example:80 check agent-check agent-addr 192.0.2.5 agent-port 99 source 192.0.2.6 interface eth9 weight 7
    server-template t 1-2 192.0.2.7:80 check downinter 700ms
    server gone 192.0.2.8:80 check disabled
    server bare 192.0.2.8:80
    server safe 192.0.2.8:443 check check-ssl verify none
    server moved 192.0.2.8:443 check ssl verify none
    server follows 192.0.2.8:80 track web/one
listen db
    bind 192.0.2.2:3306
    mode tcp
    option mysql-check user watch
    server m1 192.0.2.30:3306 check
"""


@pytest.fixture
def loaded() -> Loaded:
    return load_text("web.cfg", CONFIG, {})


def ports_for(stage: Stage) -> list[tuple[int, int]]:
    return [(20000 + 2 * n, 20001 + 2 * n if one.planned.agent else 0) for n, one in enumerate(stage.played)]


def rewritten(loaded: Loaded, stage: Stage) -> tuple[str, Loaded]:
    text = Writer(loaded, stage, ports_for(stage)).text()
    return text, load_text("played.cfg", text, {})


def test_what_is_played_and_why_the_rest_is_not(loaded: Loaded) -> None:
    stage = stage_of(loaded)
    assert [one.full_name for one in stage.played] == ["web/one", "web/t1", "web/t2", "web/moved", "db/m1"]
    reasons = {one.server: one.why for one in stage.left_out}
    assert reasons["web/gone"] == "is disabled"
    assert reasons["web/bare"] == "has no check"
    assert reasons["web/safe"] == "not played: the check speaks TLS"
    assert reasons["web/follows"] == "tracks web/one"


def test_no_address_of_the_configuration_is_left(loaded: Loaded) -> None:
    text, again = rewritten(loaded, stage_of(loaded))
    assert not re.search(r"192\.0\.2|example|eth9|/run/|nowhere|nameserver|mailers", text)
    must_stay(again, [port for pair in ports_for(stage_of(loaded)) for port in pair])


def test_rules_and_paces_are_the_same(loaded: Loaded) -> None:
    stage = stage_of(loaded)
    _, again = rewritten(loaded, stage)

    def facts(servers: Sequence[object]) -> list[tuple[object, ...]]:
        names = ("inter_ms", "fastinter_ms", "downinter_ms", "agent_inter_ms", "rise", "fall", "timeout_connect_ms",
                 "timeout_check_ms", "check", "agent", "weight")  # fmt: skip
        return [tuple(getattr(one, name) for name in names) for one in servers]

    assert facts([one.planned for one in stage.played]) == facts(again.planned)
    for before, after in zip(stage.played, again.planned, strict=True):
        assert after.rules.kind is before.planned.rules.kind
        assert [type(rule) for rule in after.rules.rules] == [type(rule) for rule in before.planned.rules.rules]
        for one, other in zip(before.planned.rules.rules, after.rules.rules, strict=True):
            for name in ("uri", "headers", "pattern", "data", "statuses"):
                assert getattr(one, name, None) == getattr(other, name, None)


def test_copies_have_names_of_their_own(loaded: Loaded) -> None:
    stage = stage_of(loaded).with_servers(7)
    names = [one.full_name for one in stage.played]
    assert len(set(names)) == len(names) == 14, "seven of each backend"
    assert {one.backend for one in stage.played} == {"web", "db"}
    _, again = rewritten(loaded, stage)
    assert sorted(f"{one.proxy.name}/{one.config.name}" for one in again.planned) == sorted(names)
    assert [one.full_name for one in stage_of(loaded).with_servers(1).played] == ["web/one", "db/m1"]


@pytest.mark.parametrize("word", ["a b", "a\\b", "#", "PING\r\n", "it's", 'say "x"', "$HOME", "\x01\t", "^a\\.b$"])
def test_quoted_words_are_read_back(word: str) -> None:
    text = f"backend b\n    option tcp-check\n    tcp-check send {quoted(word)}\n    server s 127.0.0.1:1 check\n"
    (server,) = load_text("q.cfg", text, {}).planned
    assert server.rules.rules[0].data == word.encode()  # type: ignore[union-attr]


def test_a_check_that_would_leave_is_refused() -> None:
    strays = load_text("x.cfg", "backend b\n    server s 192.0.2.1:80 check\n", {})
    with pytest.raises(StartError, match="b/s"):
        must_stay(strays, [80])
