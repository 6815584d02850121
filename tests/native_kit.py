"""Programs and runs for the tests of the native part."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from risefall.config.haproxy.dialect import DIALECTS
from risefall.config.haproxy.model import CheckKind, HttpSendRule, Place, Rule, RuleSet
from risefall.engine import native
from risefall.engine.native import CheckSpec, Endpoint, Probe, ProbeResult, Program
from risefall.engine.programs import Compiler

HERE = Place("test.cfg", 1)
GET = HttpSendRule(HERE, 1, method="GET", uri="/")
MS = 1_000_000


def http_program(
    *rules: Rule, dialect: str = "2.6", request: HttpSendRule | None = GET, disable_on_404: bool = False
) -> Program:
    """The program of an httpchk with these expect rules."""
    sends: tuple[Rule, ...] = (request,) if request else ()
    wanted = RuleSet(kind=CheckKind.HTTP, rules=(*sends, *rules), disable_on_404=disable_on_404)
    return Compiler(DIALECTS[dialect], 16384).health(wanted).program


def tcp_program(dialect: str = "2.6") -> Program:
    """A plain TCP connect."""
    return Compiler(DIALECTS[dialect], 16384).health(RuleSet()).program


def agent_program(send: str = "", dialect: str = "2.6") -> Program:
    """An agent-check."""
    return Compiler(DIALECTS[dialect], 16384).agent(send).program


def spec(port: int = 80, host: str = "127.0.0.1", **more: int) -> CheckSpec:
    """A check with `inter 1s rise 2 fall 3`, changed as told."""
    words: dict[str, int] = {"inter_ms": 1000, "rise": 2, "fall": 3, "health": 2, "tag": 0, "first_ns": 0} | more
    return CheckSpec(Endpoint(4, socket.inet_aton(host), port), **words)


def run_probe(
    program: Program,
    pieces: Sequence[bytes],
    *,
    ending: str = "eof",
    check: CheckSpec | None = None,
    probe: Probe | None = None,
) -> ProbeResult:
    """One run against a peer that sends `pieces` and then ends its stream, resets, or keeps quiet."""
    probe = probe or Probe(program, check or spec())
    left = [piece for piece in pieces if piece]
    probe.start(0)
    for _ in range(10_000):
        want = probe.want()
        if want.kind == native.DONE:
            return probe.result()
        if want.kind == native.CONNECT:
            probe.connected(1 * MS)
        elif want.kind == native.SEND:
            probe.sent(len(want.out), 2 * MS)
        elif left:
            piece = left.pop(0)
            if len(piece) > want.room:
                left.insert(0, piece[want.room :])
                piece = piece[: want.room]
            probe.received(piece, 3 * MS)
        elif ending == "eof":
            probe.received(b"", 4 * MS)
        elif ending == "rst":
            probe.failed(native.AT_STREAM, 104, 4 * MS)
        else:
            probe.time(want.deadline_ns)
    raise AssertionError("the probe did not end")
