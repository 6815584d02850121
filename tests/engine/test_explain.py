"""Lines of a transcript, and the times at its end."""

from __future__ import annotations

from risefall.engine.drive import Step, StepKind
from risefall.engine.explain import Phases, phases, show_bytes, show_phases, show_step

MS = 1_000_000


def test_bytes_for_people() -> None:
    assert show_bytes(b"a\r\n\xff") == r"'a\r\n\xff'"
    assert show_bytes(b"a\r\n\xff", binary=True) == "61 0d 0a ff |a...|"
    assert show_bytes(b"x" * 301).endswith("… 1 more bytes")
    assert show_bytes(b"x" * 65, binary=True).endswith("| … 1 more bytes")


def test_every_step_has_its_line() -> None:
    for kind in StepKind:
        assert show_step(Step(1_500_000, kind, b"", 0, "told")).startswith("    1.500 ms  ")
    assert "failed: told" in show_step(Step(0, StepKind.FAILED, detail="told"))
    assert "ECONNREFUSED" in show_step(Step(0, StepKind.FAILED, error=111))


def test_phases_are_those_of_the_last_connection() -> None:
    steps = [
        Step(0, StepKind.CONNECTING), Step(1 * MS, StepKind.CONNECTED), Step(2 * MS, StepKind.RECEIVED, b"x"),
        Step(3 * MS, StepKind.CONNECTING), Step(5 * MS, StepKind.CONNECTED), Step(9 * MS, StepKind.TLS_DONE),
        Step(10 * MS, StepKind.SENT, b"x"), Step(17 * MS, StepKind.RECEIVED, b"x"), Step(18 * MS, StepKind.RECEIVED, b"y"),
        Step(20 * MS, StepKind.CLOSED),
    ]  # fmt: skip
    assert phases(0.5, steps) == Phases(0.5, 2.0, 4.0, 8.0, 20.0)
    assert show_phases(phases(0.5, steps)).endswith(
        "connect 2.000 ms, TLS 4.000 ms, first byte 8.000 ms, all 20.000 ms"
    )


def test_what_did_not_come_has_no_time() -> None:
    assert phases(0.0, [Step(0, StepKind.CONNECTING), Step(7 * MS, StepKind.TIMED_OUT)]) == Phases(
        0.0, None, None, None, 7.0
    )
    assert phases(0.0, []) == Phases(0.0, None, None, None, 0.0)
