"""Numbers, times and sizes as HAProxy reads them, which is leniently.

Source: spec/haproxy-checks.md §9.6, §9.7; haproxy configuration manual 2.6, §2.4, §2.5.
"""

from __future__ import annotations

import re

from risefall.config.text import Wrong

TIME_MS_MAX = 2**31 - 1
INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1
TIME = re.compile(r"([0-9]+)(us|ms|s|m|h|d)?")
LENIENT = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
SIZE = re.compile(r"([0-9]+)([kKmMgG]?)")
US_OF = {"us": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
SIZE_OF = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
TIME_HELP = "write a number with us, ms, s, m, h or d, such as 2s; a bare number means milliseconds"


DIGITS_MAX = 20
"""More than any limit of a configuration has; Python itself refuses numbers of some thousand digits."""


def integer(digits: str) -> int:
    """A number of however many digits: where C could not hold it, only that it is too large counts."""
    sign = -1 if digits.startswith("-") else 1
    return sign * int(digits.lstrip("+-").lstrip("0")[:DIGITS_MAX] or "0")


def atoi(text: str) -> int:
    """The leading decimal number of a text, 0 without one, as C's atoi does."""
    found = LENIENT.match(text)
    return max(-INT_MAX - 1, min(INT_MAX, integer(found.group(1)))) if found else 0


def c_int(text: str) -> int:
    """The number that C's atol finds at the beginning of a text, cut to the 32 bits of an int; 0 without one."""
    found = LENIENT.match(text)
    number = max(-LONG_MAX - 1, min(LONG_MAX, integer(found.group(1)))) if found else 0
    return (number + INT_MAX + 1) % (2 * (INT_MAX + 1)) - INT_MAX - 1


def time_ms(text: str, *, default_unit: str = "ms") -> tuple[int, str]:
    """Milliseconds, rounded up, and what follows the unit (HAProxy only warns about that).

    Raises ValueError for what is no time, OverflowError above 2147483647 ms.
    """
    found = TIME.match(text)
    if not found:
        raise ValueError(text)
    unit = found.group(2)
    rest = text[found.end() :]
    if unit is None and rest:
        raise ValueError(text)
    if unit == "m" and rest.startswith("s"):
        raise AssertionError("ms comes before m")
    ms = -(-integer(found.group(1)) * US_OF[unit or default_unit] // 1000)
    if ms > TIME_MS_MAX:
        raise OverflowError(text)
    return ms, rest


def long_ms(text: str) -> int:
    """Milliseconds of a time that HAProxy never reads, so that its 24.8 days do not end it. Raises ValueError."""
    found = TIME.fullmatch(text)
    if not found:
        raise ValueError(text)
    return -(-integer(found.group(1)) * US_OF[found.group(2) or "ms"] // 1000)


def parse_time(text: str, what: str, at: int, *, default_unit: str = "ms") -> int:
    """Milliseconds; what stands behind the unit is dropped. Raises Wrong, which names <what>."""
    try:
        ms, _dropped = time_ms(text, default_unit=default_unit)
    except ValueError:
        raise Wrong(f"{what} wants a time, got '{text}'", at, help=TIME_HELP) from None
    except OverflowError:
        raise Wrong(
            f"{what} is longer than HAProxy can count, got '{text}'",
            at,
            help=f"the most is {TIME_MS_MAX} ms (24.8 days)",
        ) from None
    return ms


def parse_size(text: str) -> int:
    """Bytes of `16k`, `1m`. Raises ValueError."""
    found = SIZE.fullmatch(text)
    if not found:
        raise ValueError(text)
    return integer(found.group(1)) * SIZE_OF[found.group(2).lower()]
