"""Small charts as inline SVG: step curves over two axes, and ranges in rows. No script, no font, no other file is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import msgspec

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 44
COLOURS = ("#1f5fa8", "#d9772b", "#3a923a", "#9a4fb0")
GRID, INK = "#e3e6ea", "#444"
TICKS = 6
ROW = 30
LABELS = 130


class Curve(msgspec.Struct, frozen=True):
    """points: x rising; drawn as steps. Its colour comes from its place."""

    name: str
    points: Sequence[tuple[float, float]]


class Range(msgspec.Struct, frozen=True):
    """One program's values in a row of `ranges`; in rising order."""

    values: Sequence[float]


def nice_step(most: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that gives at most TICKS ticks."""
    raw = max(most, 1e-12) / TICKS
    power: float = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)


def ticks(most: float) -> list[float]:
    step = nice_step(most)
    return [step * n for n in range(int(most / step + 1e-9) + 1)]


def number(value: float) -> str:
    return f"{value:.6g}"


def _frame(height: int, inner: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}" '
        f'xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" font-size="12" fill="{INK}">'
        + "".join(inner)
        + "</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = GRID, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def curves(lines: Sequence[Curve], x_label: str, y_label: str, *, x_most: float, y_most: float) -> str:
    """Step curves from 0 to x_most and y_most."""
    x_most, y_most = max(x_most, 1e-9), max(y_most, 1e-9)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(value, x_most) / x_most

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value, y_most) / y_most

    parts = []
    for tick in ticks(x_most):
        parts += [_line(x(tick), TOP, x(tick), y(0)), _text(x(tick), y(0) + 16, number(tick))]
    for tick in ticks(y_most):
        parts += [_line(LEFT, y(tick), WIDTH - RIGHT, y(tick)), _text(LEFT - 7, y(tick) + 4, number(tick), "end")]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(_text(15, middle, y_label, more=f' transform="rotate(-90 15 {middle:.1f})"'))
    for place, line in enumerate(lines):
        if line.points:
            colour = COLOURS[place % len(COLOURS)]
            path = f"M{x(line.points[0][0]):.1f} {y(line.points[0][1]):.1f}" + "".join(
                f"H{x(at):.1f}V{y(value):.1f}" for at, value in line.points[1:]
            )
            parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-opacity="0.85"/>')
    return _frame(HEIGHT, parts, f"{y_label} over {x_label}")


def share_of(values: Sequence[float], x_most: float) -> list[tuple[float, float]]:
    """The share of values at or below x, in percent, as points of a curve."""
    ordered = sorted(values)
    points = [(0.0, 0.0), *((value, 100 * (n + 1) / len(ordered)) for n, value in enumerate(ordered))]
    return [*points, (x_most, 100.0)] if ordered else []


def ranges(rows: Sequence[tuple[str, Sequence[Range]]], x_label: str, *, x_most: float) -> str:
    """A row a name: of each program a line from the least to the worst value, every value as a mark, the median as a dot."""
    x_most = max(x_most, 1e-9)
    each = ROW if max((len(one) for _, one in rows), default=1) > 1 else ROW - 8
    bottom = TOP + each * len(rows)

    def x(value: float) -> float:
        return LABELS + (WIDTH - LABELS - RIGHT) * min(value, x_most) / x_most

    parts = []
    for tick in ticks(x_most):
        parts += [_line(x(tick), TOP, x(tick), bottom), _text(x(tick), bottom + 16, number(tick))]
    for row, (name, programs) in enumerate(rows):
        top = TOP + each * row
        parts += [_line(LABELS, top, WIDTH - RIGHT, top), _text(LABELS - 8, top + each / 2 + 4, name, "end")]
        for place, one in enumerate(programs):
            if not one.values:
                continue
            at = top + each * (place + 1) / (len(programs) + 1)
            colour = COLOURS[place % len(COLOURS)]
            parts.append(_line(x(one.values[0]), at, x(one.values[-1]), at, colour, 1.5))
            parts += [
                f'<circle cx="{x(value):.1f}" cy="{at:.1f}" r="2" fill="{colour}" fill-opacity="0.35"/>'
                for value in one.values
            ]
            median = one.values[max(0, math.ceil(len(one.values) / 2) - 1)]
            parts.append(f'<circle cx="{x(median):.1f}" cy="{at:.1f}" r="4.2" fill="{colour}" stroke="#fff"/>')
    parts.append(_text((LABELS + WIDTH - RIGHT) / 2, bottom + 34, x_label))
    return _frame(bottom + BOTTOM, parts, x_label)


def legend(names: Sequence[str]) -> str:
    """The programs and their colours, as HTML."""
    return "".join(
        f'<span class="key"><i style="background:{COLOURS[place % len(COLOURS)]}"></i>{escape(name)}</span>'
        for place, name in enumerate(names)
    )
