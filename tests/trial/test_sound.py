"""Sound replies satisfy the rules, asked of the real probe; what cannot be played says why; every fault is a failure."""

from __future__ import annotations

import pytest
import trio

from risefall.cli.check import check_all
from risefall.cli.loading import load_text
from risefall.engine.play import Door, Player
from risefall.status import Verdict
from risefall.trial.rewriting import HOST, stage_of
from risefall.trial.sound import Fault, NotPlayed, acts_for, broken, sound, undo, visible

RULES = {
    "plain": ["option httpchk"],
    "status": ["option httpchk", "http-check expect status 204,301-302"],
    "not status": ["option httpchk", "http-check expect ! status 200"],
    "string": ["option httpchk GET /x", 'http-check expect string "all is well"'],
    "rstring": ["option httpchk", r"http-check expect rstring ^state:\ up$"],
    "rstatus": ["option httpchk", "http-check expect rstatus ^4"],
    "header": ["option httpchk", "http-check expect hdr name x-state value ready"],
    "dialogue": ["option tcp-check", r"tcp-check send PING\r\n", "tcp-check expect string +PONG", r"tcp-check send QUIT\r\n",
                 "tcp-check expect string +OK"],
    "banner": ["option tcp-check", "tcp-check expect rstring ^220"],
    "binary": ["option tcp-check", "tcp-check send-binary 0102", "tcp-check expect binary a1b2"],
    "redis": ["option redis-check"], "mysql": ["option mysql-check"], "mysql user": ["option mysql-check user w"],
    "pgsql": ["option pgsql-check user w"], "smtp": ["option smtpchk EHLO x"], "ldap": ["option ldap-check"],
    "ssl hello": ["option ssl-hello-chk"],
}  # fmt: skip


def config(rules: list[str], port: int) -> str:
    lines = "".join(f"    {line}\n" for line in rules)
    paces = "inter 300ms"
    return f"backend b\n    timeout connect 200ms\n    timeout check 200ms\n{lines}    server s {HOST}:{port} check {paces}\n"


def verdict(rules: list[str], fault: Fault | None) -> Verdict:
    """What the real probe says of one check against a played backend."""
    with Player(listeners=2, connections=32) as player:
        listener, port = player.listen(HOST, 0)
        loaded = load_text("r.cfg", config(rules, port), {})
        (played,) = stage_of(loaded).played
        assert played.acts is not None
        stance = sound(played.acts) if fault is None else broken(fault, played.acts, played.timeout_ms)
        player.script(listener, *stance.acts)
        if not stance.door_open:
            player.door(listener, Door.DEAF if stance.deaf else Door.REFUSE)
        (outcome,) = trio.run(check_all, loaded, 0)
        assert outcome.health is not None
        return outcome.health.verdict


@pytest.mark.parametrize("name", RULES)
def test_sound_replies_pass(name: str) -> None:
    assert verdict(RULES[name], None) is Verdict.PASSED


@pytest.mark.parametrize("name", ["plain", "string", "dialogue", "redis", "smtp"])
def test_every_visible_fault_fails(name: str) -> None:
    loaded = load_text("r.cfg", config(RULES[name], 1), {})
    (played,) = stage_of(loaded).played
    assert played.acts is not None
    for fault in visible(played.acts, agent=False):
        if fault is not Fault.OVERLOAD:  # a single check is no overload
            assert verdict(RULES[name], fault) is Verdict.FAILED, fault


def test_a_check_that_only_connects_sees_two_faults() -> None:
    (server,) = load_text("c.cfg", f"backend b\n    server s {HOST}:1 check agent-check agent-port 2\n", {}).planned
    assert visible(acts_for(server), agent=True) == (Fault.REFUSE, Fault.DEAF, Fault.AGENT)


@pytest.mark.parametrize(
    ("lines", "words", "why"),
    [
        ("", "ssl verify none", "TLS"),
        ("", "send-proxy", "PROXY"),
        ("option httpchk", "check-proto h2", "HTTP/2"),
        ("option tcp-check\n    tcp-check connect port 25", "", "place of their own"),
        ("option spop-check", "", "spop"),
        ("option httpchk\n    http-check expect rstring ^[a-f]{9}x+$", "", "no text is known"),
    ],
)
def test_what_cannot_be_played_says_why(lines: str, words: str, why: str) -> None:
    loaded = load_text("n.cfg", f"backend b\n    {lines}\n    server s {HOST}:1 check {words}\n", {})
    (left,) = stage_of(loaded).left_out
    assert why in left.why


def test_undo_finds_a_text_or_says_that_there_is_none() -> None:
    assert undo(r"^a\.b$") == "a.b"
    assert undo("(?i)ok|fine") in ("OK", "ok", "(?i)ok|fine")
    with pytest.raises(NotPlayed):
        undo("(")
