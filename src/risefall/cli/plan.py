"""`risefall plan -f FILE`: what would be checked, as a table or an object a line."""

from __future__ import annotations

import gc
import ipaddress
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from risefall.cli.loading import load
from risefall.cli.options import config_options, json_option
from risefall.config.haproxy.model import Address, Family
from risefall.config.haproxy.plan import PlannedServer
from risefall.config.text import encodable
from risefall.engine.sound import reasons

if TYPE_CHECKING:
    from risefall.engine.names import Found

# trio, rich and the rest of the engine are imported where they are needed: together they take longer than reading a large file.


class PlanRow(msgspec.Struct, frozen=True, gc=False):
    """One server, as `--json` prints it: None where a thing does not apply, or a name was not resolved. Times are ms."""

    backend: str
    server: str
    addr: str | None
    port: int | None
    fqdn: str | None
    check: bool
    agent: bool
    check_kind: str | None
    check_addr: str | None
    check_port: int | None
    agent_addr: str | None
    agent_port: int | None
    inter_ms: int | None
    fastinter_ms: int | None
    downinter_ms: int | None
    rise: int | None
    fall: int | None
    timeout_connect_ms: int | None
    timeout_check_ms: int | None
    agent_inter_ms: int | None
    weight: int
    backup: bool
    disabled: bool
    track: str | None
    ssl: bool | None
    file: str
    line: int
    not_checked: str | msgspec.UnsetType = msgspec.UNSET
    """Why the check's rules cannot be run; there only where they cannot."""


PLAIN = frozenset((Family.IPV4, Family.IPV6, Family.UNIX, Family.ELSEWHERE))


def text_of(address: Address | None, found: Found) -> str | None:
    """An address as text: resolved where it is a name, with its prefix where it is no inet address."""
    if address is None:
        return None
    if address.family in PLAIN:
        return encodable(address.host)
    if address.family is not Family.NAME:
        return f"{address.family.name.lower()}@{address.host}"
    known = found.get((address.host, address.prefer))
    packed = getattr(known, "packed", None)  # an Unresolved has none
    return None if packed is None else str(ipaddress.ip_address(packed))


def row_of(planned: PlannedServer, found: Found, why_not: str = "") -> PlanRow:
    """One server of the plan. why_not: its check's rules cannot be run."""
    address = planned.config.address
    inet = address.family in (Family.IPV4, Family.IPV6, Family.NAME)
    check, agent = planned.check, planned.agent
    return PlanRow(
        backend=encodable(planned.proxy.name),
        server=planned.config.name,
        addr=text_of(address, found),
        port=address.port if inet and not address.mapped else None,
        fqdn=encodable(address.host) if address.family is Family.NAME else None,
        check=check,
        agent=agent,
        check_kind=planned.rules.kind.value if check else None,
        check_addr=text_of(planned.check_addr, found),
        check_port=planned.check_port or None if check else None,
        agent_addr=text_of(planned.agent_addr, found),
        agent_port=planned.agent_port or None if agent else None,
        inter_ms=planned.inter_ms if check else None,
        fastinter_ms=planned.fastinter_ms if check else None,
        downinter_ms=planned.downinter_ms if check else None,
        rise=planned.rise if check else None,
        fall=planned.fall if check else None,
        timeout_connect_ms=planned.timeout_connect_ms,
        timeout_check_ms=planned.timeout_check_ms,
        agent_inter_ms=planned.agent_inter_ms if agent else None,
        weight=planned.weight,
        backup=planned.backup,
        disabled=planned.disabled,
        track=encodable(f"{planned.track.backend}/{planned.track.server}") if planned.track else None,
        ssl=planned.ssl if check else None,
        file=encodable(planned.config.file),
        line=planned.config.line,
        not_checked=encodable(why_not) if why_not else msgspec.UNSET,
    )


def where(host: str | None, port: int | None, name: str | None = None) -> str:
    """An address for a person; its name where it has none yet."""
    shown = host or name or "?"
    if port is None:
        return shown
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


def pace(row: PlanRow) -> str:
    """`2s`, or `2s fast 500ms down 5s`."""
    if row.inter_ms is None:
        return ""
    parts = [span(row.inter_ms)]
    if row.fastinter_ms:
        parts.append(f"fast {span(row.fastinter_ms)}")
    if row.downinter_ms:
        parts.append(f"down {span(row.downinter_ms)}")
    return " ".join(parts)


def span(ms: int) -> str:
    """Milliseconds in the largest unit that loses nothing."""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms >= size and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def notes(row: PlanRow) -> str:
    """What else matters of a server."""
    said = []
    if (row.check and row.check_addr is None) or (row.agent and row.agent_addr is None):
        said.append("not resolved")
    if row.backup:
        said.append("backup")
    if row.disabled:
        said.append("disabled")
    if row.track:
        said.append(f"tracks {row.track}")
    if row.ssl:
        said.append("TLS")
    if row.weight != 1:
        said.append(f"weight {row.weight}")
    if row.agent:
        said.append(f"agent {where(row.agent_addr, row.agent_port, row.fqdn)} every {span(row.agent_inter_ms or 0)}")
    if row.not_checked:
        said.append(f"not checked: {row.not_checked}")
    return ", ".join(said)


def show(rows: list[PlanRow]) -> None:
    """The table, and one line that sums it up."""
    from rich.table import Table

    from risefall.cli.console import Screen

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("server", "check", "to", "every", "rise/fall", "notes"):
        table.add_column(column, overflow="fold")
    for row in rows:
        to = where(row.check_addr, row.check_port, row.fqdn) if row.check else ""
        counts = f"{row.rise}/{row.fall}" if row.check else ""
        kind = row.check_kind or ("agent only" if row.agent else "none")
        table.add_row(f"{row.backend}/{row.server}", kind, to, pace(row), counts, notes(row))
    console = Screen(highlight=False, markup=False)
    console.print(table)
    refused = sum(bool(row.not_checked) for row in rows)
    checked, agents = sum(row.check for row in rows) - refused, sum(row.agent for row in rows)
    per_s = sum(1000 / row.inter_ms for row in rows if row.inter_ms and not row.disabled and not row.not_checked)
    per_s += sum(1000 / row.agent_inter_ms for row in rows if row.agent_inter_ms)
    without = f", {refused} not checked" if refused else ""
    console.print(
        f"{len(rows)} servers, {checked} checked{without}, {agents} with an agent: {per_s:.1f} checks a second"
    )


def unresolved(found: Found) -> Iterator[str]:
    """A line for each name without an address."""
    from risefall.engine.names import Unresolved

    for (name, _), known in sorted(found.items(), key=lambda item: item[0][0]):
        if isinstance(known, Unresolved):
            yield f"risefall: could not resolve '{name}': {known.why}"


@click.command("plan")
@config_options
@json_option
@click.option("--no-resolve", is_flag=True, help="leave names as they are")
def command(files: tuple[str, ...], dialect: str, strict: bool, as_json: bool, no_resolve: bool) -> None:
    """Shows what would be checked: every server with its address, check and pace.

    \b
    Example:
      risefall plan -f /etc/haproxy/haproxy.cfg
    """
    loaded = load(files, dialect, strict)
    gc.freeze()  # all of it stays to the end: the collector need not walk a hundred thousand servers
    found: Found = {}
    if not no_resolve:
        import trio

        from risefall.engine.names import resolve

        found = trio.run(resolve, list(loaded.addresses()))
        for line in unresolved(found):
            click.echo(line, err=True)
    why_not = reasons(loaded)
    rows = [row_of(planned, found, why) for planned, why in zip(loaded.planned, why_not, strict=True)]
    if as_json:
        sys.stdout.write(msgspec.json.Encoder().encode_lines(rows).decode())
    else:
        show(rows)
