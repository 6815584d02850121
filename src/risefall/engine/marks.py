"""What tells a check from another: after a reload, one with the same mark goes on as it is.

A mark says what a check does and how it goes there. It leaves out what commands and results change (counter, pause,
weight) and where in the list its server stands.
"""

from __future__ import annotations

from risefall.engine.native import CheckSpec, Program, digest
from risefall.engine.outside import Reach
from risefall.engine.tls import file_stamps


def check_mark(program: Program, spec: CheckSpec, reach: Reach | None, *, follows: bool) -> int:
    """The mark of a check: 64 bits, not 0. follows: its address is that of a server whose name is resolved at run time."""
    made = digest(
        program.mark,
        None if follows else spec.to,
        (spec.inter_ms, spec.fastinter_ms, spec.downinter_ms, spec.connect_ms, spec.check_ms, spec.rise, spec.fall),
        (spec.spread_pct, spec.initial_weight, spec.late_check_timeout, spec.static_weights, spec.site),
        (spec.source, spec.source_port_max, spec.interface, spec.netns),
        spec.transport.mark if spec.transport else None,
        spec.process.mark if spec.process else None,
        None if reach is None else reach_mark(reach),
    )
    return int.from_bytes(made[:8], "little") or 1


def reach_mark(reach: Reach) -> bytes:
    """The same for the connections of a check that is made outside of the engine."""
    files = [file_stamps(leg.tls.ca_file, leg.tls.crl_file, leg.tls.crt) for leg in reach.legs if leg.tls is not None]
    return digest(repr(reach), files)
