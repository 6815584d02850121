"""A trial's figures as a table: one column a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from risefall.trial.measures import Quantiles, Result, Summary, summary_of

CAPTION = "Times: least / median / p99 / worst (late and took: median / p99 / worst). In brackets: how many failures."

UNSEEN = "- (only connects: not seen)"


def joined(values: Sequence[float]) -> str:
    """Seconds in one unit: such as `0.44 / 0.79 / 2.34 s`, `0.2 / 1.4 ms`."""
    most = max(map(abs, values))
    if most >= 0.9995:
        return " / ".join(f"{value:.2f}" for value in values) + " s"
    digits = 0 if most >= 0.0995 else 1
    return " / ".join(f"{value * 1000:.{digits}f}" for value in values) + " ms"


def spread(found: Quantiles, *, least: bool = True) -> str:
    """least: the least too; it says nothing of a lateness or a duration."""
    known = [one for one in (found.least, found.median, found.p99, found.worst) if one is not None]
    return joined(known[0 if least else 1 :]) if known else "-"


def plain(found: Quantiles | None) -> str:
    return "cannot be seen" if found is None else spread(found, least=False)


def rows_of(summaries: Sequence[Summary]) -> list[tuple[str, list[str]]]:
    """A name and a cell for each program."""

    def row(name: str, cell: Callable[[Summary], str]) -> tuple[str, list[str]]:
        return name, [cell(one) for one in summaries]

    rows = [
        row("failures (not seen)", lambda one: f"{one.injected} ({one.missed})"),
        row("detection", lambda one: spread(one.detection_s)),
    ]
    faults = {fault.fault: None for one in summaries for fault in one.faults}
    for name in faults:

        def of_fault(one: Summary, name: str = name) -> str:
            found = next((fault for fault in one.faults if fault.fault == name), None)
            if found is None:
                return "-"
            missed = f", {found.missed} not seen" if found.missed else ""
            return f"{spread(found.detection_s)} ({found.injected}{missed})"

        rows.append(row(f"  {name}", of_fault))
    rows.append(row("recovery", lambda one: spread(one.recovery_s)))
    if any(one.balancers > 1 for one in summaries):
        rows.append(row("first to last DOWN", lambda one: spread(one.two_opinions_s)))
    rows += [
        row("false DOWNs", lambda one: str(one.false_downs)),
        row("checks seen", lambda one: f"{one.checks} ({one.checks / one.span_s:.1f}/s)" if one.checks else UNSEEN),
        row("late, at backends", lambda one: plain(one.late_s)),
        row("took, at backends", lambda one: plain(one.took_s)),
    ]
    if any(one.late_inside_us for one in summaries):
        rows.append(
            row(
                "late, inside",
                lambda one: joined([us / 1e6 for us in one.late_inside_us]) if one.late_inside_us else "not told",
            )
        )
    rows += [
        row("CPU per check", lambda one: "-" if one.cpu_us_per_check is None else f"{one.cpu_us_per_check:.0f} us"),
        row("memory a process", lambda one: f"{one.memory_bytes / 1e6:.1f} MB"),
    ]
    for backend in {backend.name: None for one in summaries for backend in one.backends}:

        def of_backend(one: Summary, name: str = backend) -> str:
            found = next((each for each in one.backends if each.name == name), None)
            if found is None or found.connections_per_s is None:
                return "-" if found is None else UNSEEN
            return f"{found.connections_per_s:.2f} conn/s, {found.bytes_per_s:.0f} B/s" + (
                f", up to {found.busiest_100ms} in 100 ms" if one.balancers > 1 else ""
            )

        rows.append(row(f"a server of {backend}", of_backend))
    return rows


def table_of(results: Sequence[Result]) -> Table:
    summaries = [summary_of(one) for one in results]
    table = Table(box=None, header_style="bold", pad_edge=False, caption=CAPTION, caption_justify="left")
    table.add_column("")
    for one in summaries:
        of = f" x {one.balancers}" if one.balancers > 1 else ""
        table.add_column(f"{one.program}{of}", overflow="fold")
    for name, cells in rows_of(summaries):
        table.add_row(name, *cells)
    return table
