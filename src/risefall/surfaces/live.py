"""What the surfaces ask of a running check, said without naming the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from risefall.state.server import CheckState
from risefall.status import Status, Verdict


class Record(Protocol):
    """The last result of one check as the engine holds it; see `CheckState` for the words.

    epoch: of the last order that the engine had taken. fails: results that lowered a counter above 0. runs: completed.
    """

    @property
    def epoch(self) -> int: ...
    @property
    def status(self) -> Status: ...
    @property
    def verdict(self) -> Verdict: ...
    @property
    def code(self) -> int: ...
    @property
    def duration_ms(self) -> int: ...
    @property
    def text(self) -> bytes: ...
    @property
    def health(self) -> int: ...
    @property
    def fails(self) -> int: ...
    @property
    def in_progress(self) -> bool: ...
    @property
    def runs(self) -> int: ...


RecordOf = Callable[[int, int], Record | None]
"""`record(server_index, which)`, which being HEALTH or AGENT; None where the engine has no such check."""


class Figures(NamedTuple):
    """A record as plain values, for tables of many servers. text: its first text_len bytes count."""

    check: int
    epoch: int
    health: int
    fails: int
    in_progress: int
    status_number: int
    verdict_number: int
    code: int
    duration_ms: int
    text_len: int
    raw_text: bytes


@runtime_checkable
class Block(Protocol):
    """A `RecordOf` that can say of many servers at once what it knows."""

    def __call__(self, index: int, which: int, /) -> Record | None: ...

    def block(self, indices: Sequence[int], which: int) -> Sequence[tuple[int, ...] | None]:
        """Values in the order of `Figures` for each server, None where the engine has no such check."""


class View(msgspec.Struct, frozen=True, gc=False):
    """One check as shown: the engine's figures where it has them, else what was news last."""

    check: CheckState
    status: Status
    verdict: Verdict
    code: int
    duration_ms: int
    text: str
    health: int
    in_progress: bool = False


def view_of(check: CheckState, record: Record | None) -> View:
    """Joins the two.

    A counter that a command set just now counts before the engine has heard of it. While a check runs, HAProxy has
    forgotten verdict, code and text of the last one, but not its status and duration (run). Bytes of the peer become
    surrogates where they are not UTF-8, and go out as they came.
    """
    if record is None or (record.runs == 0 and not record.in_progress and record.status is Status.INI):
        return View(check, check.status, check.verdict, check.code, check.duration_ms, _text(check.text), check.health)
    # Epochs are unsigned and may wrap.
    overtaken = 0 < (check.epoch - record.epoch) & 0xFFFFFFFF < 0x80000000
    health = check.health if overtaken else record.health
    if record.in_progress:
        return View(check, record.status, Verdict.UNKNOWN, 0, record.duration_ms, "", health, True)
    return View(check, record.status, record.verdict, record.code, record.duration_ms, _text(record.text), health)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
