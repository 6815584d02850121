"""The figures of a record are read where the compiled layout has them."""

from __future__ import annotations

from risefall.engine._native import ffi
from risefall.engine.figures import FIGURES
from risefall.engine.native import read_record
from risefall.surfaces.live import Figures


def test_they_say_what_the_record_says() -> None:
    records = ffi.new("rf_record[]", 2)
    one = records[1]
    one.check, one.tag, one.epoch, one.health, one.fails, one.in_progress = 1 << 40 | 3, 9, 4_000_000_000, -2, 5, 1
    result = one.result
    result.status, result.verdict, result.code, result.duration_ms = 17, 2, -7, -1
    result.text_len = 4
    ffi.memmove(result.text, b"helo", 4)
    gone, found = (Figures(*values) for values in FIGURES.iter_unpack(ffi.buffer(records)))
    record = read_record(one)
    assert record is not None
    assert gone.check == 0
    assert found.raw_text[: found.text_len] == record.text == b"helo"
    assert found[:-2] == (
        record.check, record.epoch, record.health, record.fails, record.in_progress, record.status, record.verdict,
        record.code, record.duration_ms,
    )  # fmt: skip
