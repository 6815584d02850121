"""What a slowstart allows: the share of a weight, in sixteenths (spec §1.9)."""

from __future__ import annotations

WARM = 16
"""Sixteenths of a full weight (`ServerState.warmth`)."""


def warmth_at(elapsed_s: int, slowstart_ms: int) -> int | None:
    """So many seconds after it began; None when it is over, or the clock was set back."""
    whole_s = -(-slowstart_ms // 1000)
    return (WARM * elapsed_s + whole_s) // whole_s if 0 <= elapsed_s < whole_s else None


def warm_weight(weight: int, warmth: int) -> int:
    """The weight that balancing uses: never 0 for what is not 0."""
    return weight if warmth == WARM else -(-weight * warmth // WARM)
