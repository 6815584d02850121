"""What a check says to each end that it can have: asked of a real probe once, and kept.

A reply that passes is looked for among some that the rules suggest; where none does, a passing verdict is assumed, and told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from risefall.config.haproxy.model import CheckKind, ExpectRule, RuleSet
from risefall.engine.native import CheckSpec, Probe, ProbeResult, Program
from risefall.engine.play import http_reply
from risefall.engine.simulated import NEVER, Class, End, Wired
from risefall.sim.driving import MS, drive
from risefall.status import Status, Verdict

PIECES_MAX = 12
BLIND = "only connects: an outage in which connections are still accepted (hang, wrong) is not seen"
GOOD = (Verdict.PASSED, Verdict.CONDPASS)
PRESETS: dict[CheckKind, tuple[bytes, ...]] = {
    CheckKind.REDIS: (b"+PONG\r\n",),
    CheckKind.MYSQL: (
        b"\x36\0\0\0\x0a8.0.36\0" + b"x" * 46,
        b"\x31\0\0\0\x0a8.0.36\0" + b"x" * 41 + b"\x07\0\0\2\0\0\0\2\0\0\0",
    ),
    CheckKind.PGSQL: (bytes.fromhex("520000000800000000"),),
    CheckKind.SMTP: (b"220 hi\r\n|250 ok\r\n|221 bye\r\n",),
    CheckKind.LDAP: (bytes.fromhex("300c02010161070a010004000400"),),
    CheckKind.SSL_HELLO: (b"\x16\x03\x01\0\x31\x02",),
}


class Judged(msgspec.Struct, frozen=True):
    """A class of checks, and what had to be assumed of it. good, wrong: what a server says that passes, and that fails."""

    klass: Class
    note: str = ""
    good: tuple[bytes, ...] = ()
    wrong: tuple[bytes, ...] = ()


def run_probe(
    program: Program, spec: CheckSpec, end: End, pieces: Sequence[bytes] = (), up_ns: int = MS
) -> ProbeResult:
    """One run of a probe that ends this way. pieces: what the peer says, one at a time."""
    wire = Wired(
        connect_ns=NEVER if end is End.SILENT else up_ns,
        refused=end is End.REFUSED,
        reply_ns=NEVER if end in (End.SILENT, End.HUNG) else up_ns,
        reply=end,
    )
    return drive(Probe(program, spec), 0, wire, pieces)[1]


def good_replies(rules: RuleSet | None) -> Iterator[tuple[bytes, ...]]:
    """What may pass, the likeliest first. None: an agent."""
    if rules is None:
        yield (b"up\n",)
        return
    for known in PRESETS.get(rules.kind, ()):
        yield tuple(part + b"" for part in known.split(b"|")) if rules.kind is CheckKind.SMTP else (known,)
    expects = [rule for rule in rules.rules if isinstance(rule, ExpectRule)]
    texts = [rule.data or rule.pattern.encode("utf-8", "surrogateescape") for rule in expects if not rule.negate]
    if rules.kind is not CheckKind.HTTP:
        yield tuple(texts)
        yield (b"\r\n".join(texts) + b"\r\n",)
        yield (b"OK\r\n",) * PIECES_MAX
        return
    statuses = [low for rule in expects for low, _ in rule.statuses if not rule.negate] or [200]
    headers = [
        f"{rule.name.text}: {rule.value.text if rule.value else 'x'}"
        for rule in expects
        if rule.name is not None and not rule.negate
    ]
    for status in dict.fromkeys((*statuses, 200, 204, 301, 404, 500)):
        for body in (b"\n".join(texts), b"ok\n", b""):
            yield (http_reply(max(100, min(599, status)), "OK", body, headers),) * PIECES_MAX


def wrong_replies(rules: RuleSet | None) -> Iterator[tuple[bytes, ...]]:
    """What fails, the likeliest first."""
    if rules is None:
        yield (b"down\n",)
    elif rules.kind is CheckKind.HTTP:
        for status in (503, 500, 200, 404):
            yield (http_reply(status, "Wrong", b"wrong\n"),) * PIECES_MAX
    yield (b"-ERR wrong\r\n\0\0\0\0\0\0",)
    yield ()


def judge(program: Program, spec: CheckSpec, rules: RuleSet | None) -> Judged:
    """The class of a check. rules: None of an agent's."""
    plain = msgspec.structs.replace(spec, transport=None)
    connect_only = rules is not None and rules.kind is CheckKind.TCP
    external = rules is not None and rules.kind is CheckKind.EXTERNAL
    ends = {end: run_probe(program, plain, end) for end in (End.SILENT, End.REFUSED)}
    if connect_only:
        passed = run_probe(program, plain, End.GOOD)
        ends |= dict.fromkeys((End.HUNG, End.RESET, End.WRONG, End.GOOD), passed)
    else:
        ends |= {end: run_probe(program, plain, end) for end in (End.HUNG, End.RESET)}
    verdicts = {end: (result.verdict, result.status) for end, result in ends.items()}
    note = BLIND if connect_only else ""
    said: dict[End, tuple[bytes, ...]] = {}
    if not connect_only:
        for end, replies in ((End.GOOD, good_replies(rules)), (End.WRONG, wrong_replies(rules))):
            wanted = GOOD if end is End.GOOD else (Verdict.FAILED,)
            verdicts[end] = (Verdict.PASSED, Status.L7OK) if end is End.GOOD else (Verdict.FAILED, Status.L7RSP)
            for pieces in replies:
                one = run_probe(program, plain, end, pieces)
                if one.verdict in wanted:
                    verdicts[end], said[end] = (one.verdict, one.status), pieces
                    break
            else:
                status = verdicts[end][1].name
                note = f"no reply known that its rules take for {end.name.lower()}: {status} is assumed"
    limit, floor, after = deadlines(program, plain, connect_only, external)
    klass = Class(
        inter_ms=spec.inter_ms,
        fastinter_ms=spec.fastinter_ms,
        downinter_ms=spec.downinter_ms,
        rise=spec.rise,
        fall=spec.fall,
        spread_pct=spec.spread_pct,
        connect_limit_ns=limit,
        reply_floor_ns=floor,
        reply_after_ns=after,
        ends=tuple(verdicts[end] for end in sorted(verdicts)),
        trips=2 if spec.transport is not None else 1,
        connect_only=connect_only,
        agent=rules is None,
    )
    return Judged(klass, note, said.get(End.GOOD, ()), said.get(End.WRONG, ()))


def deadlines(program: Program, spec: CheckSpec, connect_only: bool, external: bool) -> tuple[int, int, int]:
    """Limit of the connect phase; until when a reply is awaited: since the start, and since the connection."""
    probe = Probe(program, spec)
    probe.start(0)
    limit = probe.want().deadline_ns
    if connect_only or external:
        return limit, limit, 0

    def until(up_ns: int) -> int:
        probe.start(0)
        probe.connected(up_ns)
        return probe.want().deadline_ns

    early, later, latest = until(MS), until(2 * MS), until(limit)
    return limit, early if early == later else 0, latest - limit if latest != early else 0
