"""The report of a trial: one HTML file with its pictures inside, that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from risefall.trial.measures import Result, quantile, summary_of
from risefall.trial.rewriting import Stage
from risefall.trial.running import Plan
from risefall.trial.showing import CAPTION, rows_of
from risefall.trial.sound import Fault
from risefall.trial.svg import Curve, Range, curves, legend, ranges, share_of

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 860px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: 0 } h2 { font-size: 1.1em; margin: 1.8em 0 0.3em }
p.sub { color: #666; margin-top: 0.2em } svg { width: 100%; height: auto; display: block }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums }
td, th { text-align: left; padding: 3px 10px 3px 0; border-bottom: 1px solid #e8eaed; vertical-align: top }
td:first-child { white-space: pre } .key { margin-right: 1.4em; white-space: nowrap }
.key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: -1px }
p.note { color: #666; font-size: 13px; margin: 0.3em 0 }
"""


def page(results: Sequence[Result], plan: Plan, stage: Stage, files: Sequence[str]) -> str:
    names = [one.program + (f" × {one.balancers}" if one.balancers > 1 else "") for one in results]
    servers = len(stage.played)
    title = f"risefall bench: {', '.join(files)}"
    short = " The run was interrupted: these are the figures so far." if any(one.cut_short for one in results) else ""
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="sub">{servers} played servers, {plan.span_s:g} s for each program, seed {plan.seed}.{short}</p>',
        f"<p>{legend(names)}</p>",
        *detection(results),
        *by_fault(results),
        *load(results, plan),
        *lateness(results),
        "<h2>Figures</h2>",
        table(results, names),
        f'<p class="note">{escape(CAPTION)}</p>',
        *left_out(stage),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def detection(results: Sequence[Result]) -> list[str]:
    found = [one.detections_s() for one in results]
    if not any(found):
        return ['<p class="note">No failure was seen.</p>']
    most = max(max(one) for one in found if one)
    lines = [Curve(r.program, share_of(one, most)) for r, one in zip(results, found, strict=True)]
    return [
        "<h2>How fast failures are found</h2>",
        curves(lines, "seconds from the failure to DOWN", "% of failures", x_most=most, y_most=100),
        '<p class="note">All injected failures. The further left, the better.</p>',
    ]


def by_fault(results: Sequence[Result]) -> list[str]:
    faults = [fault for fault in Fault if any(one.detections_s(fault) for one in results)]
    if not faults:
        return []
    rows = [(fault.value, [Range(sorted(one.detections_s(fault))) for one in results]) for fault in faults]
    most = max(one.values[-1] for _, programs in rows for one in programs if one.values)
    words = "; ".join(f"{fault.value}: {fault.words}" for fault in faults)
    return [
        "<h2>… by kind of failure</h2>",
        ranges(rows, "seconds from the failure to DOWN", x_most=most),
        f'<p class="note">Each mark is a failure, the large dot the median. {escape(words)}.</p>',
    ]


def load(results: Sequence[Result], plan: Plan) -> list[str]:
    if not any(sum(one.load) for one in results):
        return []
    lines = [
        Curve(one.program, [(n * one.load_step_s, count / one.load_step_s) for n, count in enumerate(one.load)])
        for one in results
    ]
    most = max(value for line in lines for _, value in line.points)
    return [
        "<h2>Probe load over time</h2>",
        curves(lines, "seconds", "connections a second", x_most=plan.span_s, y_most=most * 1.05),
        '<p class="note">Connections that all backends together accepted. A check that only connects is reset before it is accepted, '
        "and does not show.</p>",
    ]


def lateness(results: Sequence[Result]) -> list[str]:
    shown = [[max(0.0, s * 1000) for s in one.late_s or ()] for one in results]
    if not any(shown):
        return []
    most = max(quantile(sorted(one), 0.995) for one in shown if one)
    lines = [
        Curve(r.program, share_of([ms for ms in one if ms <= most], most) if one else ())
        for r, one in zip(results, shown, strict=True)
    ]
    return [
        "<h2>How late checks start</h2>",
        curves(lines, "milliseconds", "% of checks", x_most=most, y_most=100),
        '<p class="note">From when a check was due (the end of the one before and its interval) until the backend accepted it; '
        "sound servers only. The latest in two hundred lie to the right of the picture.</p>",
    ]


def table(results: Sequence[Result], names: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *names))
    rows = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in rows_of([summary_of(one) for one in results])
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def left_out(stage: Stage) -> list[str]:
    if not stage.left_out:
        return []
    rows = "".join(f"<tr><td>{escape(one.server)}</td><td>{escape(one.why)}</td></tr>" for one in stage.left_out)
    return ["<h2>Not part of it</h2>", f"<table>{rows}</table>"]
