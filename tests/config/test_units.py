"""Times, sizes and lenient numbers: spec §9.6, §9.7."""

from __future__ import annotations

import re

import pytest

from risefall.config.haproxy.units import atoi, integer, parse_size, parse_time, time_ms
from risefall.config.text import Wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0, "")), ("5", (5, "")), ("10us", (1, "")), ("1500us", (2, "")), ("20ms", (20, "")), ("2s", (2000, "")),
        ("3m", (180_000, "")), ("1h", (3_600_000, "")), ("24d", (2_073_600_000, "")), ("2sx", (2000, "x")),
        ("2s1", (2000, "1")), ("2147483647", (2**31 - 1, "")),
    ],
)  # fmt: skip
def test_time(text: str, expected: tuple[int, str]) -> None:
    assert time_ms(text) == expected


@pytest.mark.parametrize("text", ["", "abc", "-1", "1.5s", "2x", "2 s"])
def test_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        time_ms(text)
    with pytest.raises(Wrong):
        parse_time(text, "'inter'", 0)


@pytest.mark.parametrize("text", ["25d", "2147483648"])
def test_too_long(text: str) -> None:
    with pytest.raises(OverflowError):
        time_ms(text)


def test_another_default_unit() -> None:
    assert time_ms("5", default_unit="s") == (5000, "")


@pytest.mark.parametrize(("text", "expected"), [("12", 12), ("2x", 2), ("abc", 0), ("-3", -3), (" 7", 7), ("", 0)])
def test_atoi(text: str, expected: int) -> None:
    assert atoi(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("100", 100), ("16k", 16384), ("1m", 1 << 20), ("2G", 2 << 30)])
def test_size(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("0007", 7), ("", 0), ("-12", -12), ("0", 0)])
def test_integer(text: str, expected: int) -> None:
    assert integer(text) == expected


def test_a_number_of_any_length_is_a_number() -> None:
    assert integer("0" * 5000 + "7") == 7
    assert integer("9" * 5000) > 2**63
    assert atoi("9" * 5000) == 2**31 - 1
    with pytest.raises(OverflowError):
        time_ms("9" * 5000 + "us")
