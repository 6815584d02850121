"""What a signal yields, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Reading(msgspec.Struct, frozen=True):
    """A number and when it was measured, on the clock that `now_ns` is on; or why there is none.

    With both, the number is the last good one and `failure` says why there is no newer one.
    text: words that came with the number, such as a unit's state.
    """

    at_ns: int
    value: float | None = None
    failure: str = ""
    text: str = ""

    def failed(self, other: Reading) -> Reading:
        """This last good reading, when the next one failed."""
        return Reading(self.at_ns, self.value, other.failure or "no number", self.text)

    def is_old(self, now_ns: int, limit_ms: int) -> bool:
        """Whether the number is older than a limit, or never came."""
        return self.value is None or now_ns - self.at_ns > limit_ms * 1_000_000


Readings = Mapping[str, Reading]


def latest(kept: Reading | None, new: Reading) -> Reading:
    """What is kept of a signal after one more reading: a failure never rubs out the last good number."""
    if new.value is not None or kept is None or kept.value is None:
        return new
    return kept.failed(new)
