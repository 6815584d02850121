"""How long sound backends take to answer: a distribution's quantiles, which the player draws from with equal chance."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

from risefall.config.haproxy.units import time_ms
from risefall.engine.recorded import read_histogram, value_at

POINTS = 1000
LONGEST_US = 600_000_000
FORMS = "5ms, normal:20ms,5ms (mean, deviation), lognormal:20ms,0.5 (median, sigma), pareto:5ms,1.5 (least, alpha), or a file of --record"


def time_us(text: str) -> float:
    """Microseconds of `5ms`, `800us`, `1s`; a bare number means ms. Raises ValueError."""
    if text.endswith("us"):
        return float(text.removesuffix("us"))
    ms, rest = time_ms(text)
    if rest:
        raise ValueError(text)
    return ms * 1000.0


def parse_latency(text: str) -> tuple[int, ...]:
    """Quantiles in microseconds, POINTS of them; one where the latency is constant. Raises ValueError that says what is allowed."""
    kind, _, rest = text.partition(":")
    words = rest.split(",")
    shares = [(point + 0.5) / POINTS for point in range(POINTS)]
    try:
        if not rest and not Path(text).is_file():
            found = [time_us(text)]
        elif kind == "normal" and len(words) == 2:
            normal = NormalDist(time_us(words[0]), max(time_us(words[1]), 1e-9))
            found = [normal.inv_cdf(share) for share in shares]
        elif kind == "lognormal" and len(words) == 2:
            normal = NormalDist(math.log(time_us(words[0])), max(float(words[1]), 1e-9))
            found = [math.exp(normal.inv_cdf(share)) for share in shares]
        elif kind == "pareto" and len(words) == 2:
            found = [time_us(words[0]) / (1 - share) ** (1 / float(words[1])) for share in shares]
        elif Path(text).is_file():
            recorded = read_histogram(text)
            found = [value_at(recorded, share) for share in shares]
        else:
            raise ValueError(text)
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"'{text}' is no latency; write {FORMS}") from error
    return tuple(min(LONGEST_US, max(0, round(us))) for us in found)
