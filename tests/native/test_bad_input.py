"""Bad input at every step of every protocol: cut replies, floods that never end, lengths that nobody can mean.

The sound dialogues pass first, so that each bad one differs from a sound one in one place. No socket, no waiting: a probe is
driven with times that are arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from native_kit import MS, spec
from risefall.cli.loading import load_text
from risefall.engine import native
from risefall.engine.native import Probe, ProbeResult, Program
from risefall.engine.targets import TargetBuilder
from risefall.status import Verdict

BUFSIZE = 16384
FLOOD_BYTES = 8 * BUFSIZE
"""Far more than a check may keep."""
WANTS_MAX = 4000
GREETING = b"\x4a\0\0\0\x0a5.7.23-23\0" + b"x" * 63
SPOP = (
    bytes.fromhex("65000000010000")
    + b"\x07version\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06\x0ccapabilities\x08\x00"
)
FLOODS = {
    "nothing but zeroes": b"\0",
    "the largest lengths": b"\xff",
    "letters without a line's end": b"x",
    "line ends": b"\r\n",
    "a banner that goes on": b"220-hello\r\n",
    "digits": b"2",
    "chunks without an end": b"1\r\nx\r\n",
    "headers without an end": b"a: b\r\n",
    "brackets": b'{"a":[',
}


class Talk(NamedTuple):
    """Lines of a backend, and what a sound server says each time that the check waits for it."""

    lines: str
    replies: tuple[bytes, ...]


HTTP = b"HTTP/1.1 200 OK\r\n"
TALKS = {
    "mysql": Talk("option mysql-check", (GREETING,)),
    "mysql user": Talk("option mysql-check user u", (GREETING, b"\7\0\0\2\0\0\0\2\0\0\0")),
    "mysql post-80": Talk("option mysql-check user u post-80", (GREETING, b"\7\0\0\2\0\0\0\2\0\0\0")),
    "pgsql": Talk("option pgsql-check user u", (bytes.fromhex("520000000800000000"),)),
    "redis": Talk("option redis-check", (b"+PONG\r\n",)),
    "smtp": Talk("option smtpchk EHLO a", (b"220 a\r\n", b"250-b\r\n250 c\r\n", b"221 d\r\n")),
    "ldap": Talk("option ldap-check", (bytes.fromhex("300c02010161070a010004000400"),)),
    "spop": Talk("option spop-check", (len(SPOP).to_bytes(4, "big") + SPOP,)),
    "ssl-hello": Talk("option ssl-hello-chk", (b"\x16\3\0\0\2",)),
    "http": Talk("option httpchk", (HTTP + b"content-length: 0\r\n\r\n",)),
    "http body": Talk(
        "option httpchk\n  http-check expect string good", (HTTP + b"transfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n",)
    ),
    "http json": Talk(
        "option httpchk\n  http-check expect status 200\n  http-check set-var(check.j) res.body,json_query('$.a')\n"
        "  http-check expect rstring ^..a.:.x",
        (HTTP + b'content-length: 9\r\n\r\n{"a":"x"}',),
    ),
    "tcp-check": Talk(
        "option tcp-check\n  tcp-check expect rstring ^hello\n  tcp-check send a\n  tcp-check expect binary 6f6b\n"
        "  tcp-check send b\n  tcp-check expect min-recv 3 !string no",
        (b"hello\r\n", b"ok", b"yes"),
    ),
}  # fmt: skip


def program_of(lines: str) -> Program:
    text = f"backend b\n  timeout check 2s\n  {lines}\n  server s 127.0.0.1:1 check\n"
    loaded = load_text("bad.cfg", text, {}, "3")
    (target,) = TargetBuilder(loaded.config, loaded.dialect, {}, node="n").build(loaded.planned, now_ns=0)
    assert target.health is not None, target.why_not
    return target.health[0]


PROGRAMS = {name: program_of(talk.lines) for name, talk in TALKS.items()}


def converse(program: Program, replies: Sequence[bytes], *, ending: str) -> tuple[ProbeResult, int]:
    """One run: a reply each time that the check waits and has all of the one before. How it ended, and how many bytes it took."""
    probe = Probe(program, spec())
    probe.start(0)
    left, taken, now = list(replies), 0, 0
    for _ in range(WANTS_MAX):
        want = probe.want()
        now += 1000
        if want.kind == native.DONE:
            return probe.result(), taken
        if want.kind == native.CONNECT:
            probe.connected(now)
        elif want.kind == native.SEND:
            probe.sent(len(want.out), now)
        elif left:
            piece, rest = left[0][: want.room], left[0][want.room :]
            assert piece, "it waits, and has no room"
            left = [*([rest] if rest else []), *left[1:]]
            taken += len(piece)
            probe.received(piece, now)
        elif ending == "eof":
            probe.received(b"", now)
        else:
            assert want.deadline_ns <= 1000 * MS + now
            probe.time(want.deadline_ns)
    raise AssertionError("the check did not end")


@pytest.mark.parametrize("name", TALKS)
def test_a_sound_dialogue_passes(name: str) -> None:
    """Whole, and byte by byte; but for SMTP, whose first bytes decide, so that the rest of a line is the next reply, as in HAProxy."""
    replies = TALKS[name].replies
    assert converse(PROGRAMS[name], replies, ending="silence")[0].verdict is Verdict.PASSED
    if name == "smtp":
        return
    bytewise = [reply[at : at + 1] for reply in replies for at in range(len(reply))]
    assert converse(PROGRAMS[name], bytewise, ending="silence")[0].verdict is Verdict.PASSED


@pytest.mark.parametrize("ending", ["eof", "silence"])
@pytest.mark.parametrize("name", TALKS)
def test_a_reply_that_is_cut_fails(name: str, ending: str) -> None:
    """At every byte of every step, but where what is there is enough: then nothing shorter was, and nothing longer is not."""
    replies = TALKS[name].replies
    for step, reply in enumerate(replies):
        verdicts = [
            converse(PROGRAMS[name], [*replies[:step], reply[:cut]][: step + (cut > 0)], ending=ending)[0].verdict
            for cut in range(len(reply))
        ]
        enough = verdicts.index(Verdict.PASSED) if Verdict.PASSED in verdicts else len(verdicts)
        assert step == len(replies) - 1 or enough == len(verdicts)
        assert set(verdicts[:enough]) == {Verdict.FAILED}
        assert set(verdicts[enough:]) <= {Verdict.PASSED}


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("name", TALKS)
def test_a_flood_at_any_step_ends(name: str, flood: str) -> None:
    """The check decides, or its deadline does; it never keeps more than its buffer holds at each step."""
    replies, pattern = TALKS[name].replies, FLOODS[flood]
    endless = (pattern * (FLOOD_BYTES // len(pattern) + 1))[:FLOOD_BYTES]
    for step in range(len(replies) + 1):
        result, taken = converse(PROGRAMS[name], [*replies[:step], endless], ending="silence")
        assert result.verdict in (Verdict.PASSED, Verdict.FAILED)
        assert taken <= sum(map(len, replies[:step])) + BUFSIZE * (len(replies) + 1)


@pytest.mark.parametrize("name", TALKS)
def test_a_reply_behind_rubbish_fails(name: str) -> None:
    """One byte too many in front, at every step; a search in a text does not mind."""
    replies = TALKS[name].replies
    searches = {"redis": {0}, "http body": set(), "tcp-check": {1, 2}, "smtp": set()}
    for step, reply in enumerate(replies):
        spoiled = [*replies[:step], b"\x7f" + reply, *replies[step + 1 :]]
        verdict = converse(PROGRAMS[name], spoiled, ending="eof")[0].verdict
        assert verdict is (Verdict.PASSED if step in searches.get(name, ()) else Verdict.FAILED)
