"""Latencies as `risefall bench --record` writes them, for whoever plays or simulates a backend."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec


class Histogram(msgspec.Struct, frozen=True):
    """Recorded latencies, as `--record` writes them: counts[i] lie between edges[i] and edges[i + 1]."""

    unit: str
    edges: tuple[int, ...]
    counts: tuple[int, ...]


def read_histogram(path: str | Path) -> Histogram:
    """Raises ValueError that says what is wrong."""
    try:
        made = msgspec.json.decode(Path(path).read_bytes(), type=Histogram)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ValueError(f"no histogram of risefall bench --record: {error}") from error
    rises = all(low < high for low, high in pairwise(made.edges))
    if made.unit != "us" or not rises or len(made.edges) != len(made.counts) + 1 or made.edges[0] < 0:
        raise ValueError("no histogram of risefall bench --record: it wants microseconds, and edges that rise")
    if sum(made.counts) <= 0 or min(made.counts) < 0:
        raise ValueError("nothing was recorded in it")
    return made


def value_at(recorded: Histogram, share: float) -> float:
    """The value below which this share lies; within a bin, evenly."""
    left = share * sum(recorded.counts)
    for (low, high), count in zip(pairwise(recorded.edges), recorded.counts, strict=True):
        if count and left <= count:
            return low + (high - low) * left / count
        left -= count
    return float(recorded.edges[-1])
