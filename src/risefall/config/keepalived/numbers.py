"""Numbers as keepalived 2.2.7 reads them: what it says about one, and which value it goes on with.

Source: spec/keepalived-track.md §7.1; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

from typing import NamedTuple

from risefall.config.keepalived.words import BLANKS, DECIMAL, DIGITS_MAX

INT_MAX = 2**31 - 1
UINT_MAX = 2**32 - 1
ULONG_MAX = 2**64 - 1
SECONDS_MAX = UINT_MAX // 1_000_000
"""Whole seconds that fit a 32-bit count of microseconds: 4294."""
TIMER_MAX_US = ULONG_MAX - 1


class Number(NamedTuple):
    """value: what is used, None when nothing is. complaint: what is said, empty when nothing is."""

    value: int | None
    complaint: str = ""


def signed(text: str, low: int, high: int, *, lenient: bool = True) -> Number:
    """A whole number with or without a sign. lenient: one with something behind it counts outside `-t`."""
    value, rest = _leading(text)
    inside = low <= value <= high
    if rest:
        return Number(value if lenient and inside else None, f"invalid number '{text}'")
    if not -INT_MAX - 1 <= value <= INT_MAX:
        return Number(None, f"number '{text}' outside integer range")
    if not inside:
        return Number(None, f"number '{text}' outside range [{low}, {high}]")
    return Number(value)


def unsigned(text: str, low: int, high: int, *, lenient: bool = True) -> Number:
    """A whole number that has no minus."""
    value, rest = _leading(text)
    inside = low <= value <= high
    if text.lstrip(BLANKS).startswith("-"):
        return Number(None, f"negative number '{text}'")
    if rest:
        return Number(value if lenient and inside else None, f"invalid number '{text}'")
    if value > UINT_MAX:
        return Number(None, f"number '{text}' outside unsigned integer range")
    if not inside:
        return Number(None, f"number '{text}' outside range [{low}, {high}]")
    return Number(value)


def decimal(text: str, low: int, high: int, *, places: int = 6, lenient: bool = True) -> Number:
    """A number of so many decimals at the most, in units of the last; low and high are in the same units."""
    if text.startswith("-"):
        return Number(None, f"negative number '{text}'")
    whole, _, fraction = text.partition(".")
    complaint, up = "", False
    if len(fraction) > places:
        complaint = f"number '{text}' has too many decimal places"
        up = fraction[places] >= "5"
        fraction = fraction[:places]
    value, rest = _leading(whole + fraction + "0" * (places - len(fraction)))
    value += up
    inside = low <= value <= high
    if rest:
        return Number(value if lenient and inside else None, f"invalid number '{text}'")
    if value > ULONG_MAX:
        return Number(None, f"number '{text}' outside unsigned decimal range")
    if not inside:
        one = 10**places
        ends = (f"{end // one}.{end % one:0{places}d}" for end in (low, high))
        return Number(None, complaint or f"number '{text}' outside range [{', '.join(ends)}]")
    return Number(value, complaint)


def _leading(text: str) -> tuple[int, str]:
    """The number at the beginning, 0 without one, and what follows it."""
    found = DECIMAL.match(text)
    if not found:
        return 0, text
    digits = found.group(1)
    sign = -1 if digits[0] == "-" else 1
    return sign * int(digits.lstrip("+-").lstrip("0")[:DIGITS_MAX] or "0"), text[found.end() :]


def ms(us: int) -> int:
    """Microseconds as milliseconds, rounded up."""
    return -(-us // 1000)


BOOLEANS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
