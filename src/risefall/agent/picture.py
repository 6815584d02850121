"""A replay as a picture: signals above, the weight below, and when something else than `up` was said."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from risefall.agent.replay import Row
from risefall.agent.settings import Service
from risefall.errors import StartError

ADMIN = ("drain", "maint")
SIZE_INCHES = (11.0, 6.5)
COLOURS = {"drain": "#e8b04a", "maint": "#9a7fc9", "silent": "#bbbbbb"}
DOWN = "#d9534f"
BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "fontsize": "small", "borderaxespad": 0.0}
"""A legend that hides no line."""


def mood(line: str) -> str:
    """What a line is about, apart from its weight: '' while all is well."""
    words = line.partition("#")[0].split()
    if not words:
        return "silent"
    return words[0] if words[0] != "up" else next((word for word in ADMIN if word in words), "")


def moods(rows: Sequence[Row]) -> list[tuple[float, float, str]]:
    """From when to when something else than a plain `up` was said, and what."""
    out = []
    ends = {id(row): after.t_s for row, after in pairwise(rows)}
    for name, group in groupby(rows, key=lambda row: mood(row.line)):
        run = list(group)
        if name:
            out.append((run[0].t_s, ends.get(id(run[-1]), run[-1].t_s), name))
    return out


def draw(rows: Sequence[Row], service: Service, path: str) -> None:
    """Writes a PNG. Raises StartError without matplotlib, which is an extra, and for a file that cannot be written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StartError("a picture needs matplotlib: pip install 'risefall[plot]'") from error
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1))
    times = [row.t_s for row in rows]
    for signal in service.signal:
        upper.plot(times, [row.values.get(signal.name, float("nan")) for row in rows], label=signal.name, linewidth=1)
    upper.set_ylabel("signals")
    if service.signal:
        upper.legend(**BESIDE)
    lower.plot(times, [row.asked_pct for row in rows], color="#b0b0b0", linewidth=1, label="asked for by load")
    lower.step(
        times, [row.weight_pct for row in rows], where="post", color="#1f5fa8", linewidth=1.6, label="weight said"
    )
    named: set[str] = set()
    for begin, end, name in moods(rows):
        label = None if name in named else name
        named.add(name)
        lower.axvspan(begin, end, color=COLOURS.get(name, DOWN), alpha=0.3, label=label, linewidth=0)
    lower.set_ylim(-2, 105)
    lower.set_ylabel("weight, %")
    lower.set_xlabel("seconds")
    lower.legend(**BESIDE)
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from error
