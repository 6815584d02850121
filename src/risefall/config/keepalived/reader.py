"""A whole keepalived.conf: the walk over its lines, then what only shows when all of it is known.

Source: spec/keepalived-track.md §7; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from risefall.config.keepalived import globals as globals_
from risefall.config.keepalived import servers as servers_
from risefall.config.keepalived import statics, trackers, vrrp
from risefall.config.keepalived.blocks import Draft, Table, Walk
from risefall.config.keepalived.finish import Finish
from risefall.config.keepalived.lexer import Lines
from risefall.config.keepalived.model import Config, Instance, Line, SyncGroup
from risefall.config.keepalived.pool import Pool
from risefall.config.text import Diagnostics, Source


def read(
    source: Source,
    *,
    config_id: str = "localhost",
    strict: bool = False,
    draw: Callable[[int, int], int] | None = None,
    hear: Callable[[str], None] | None = None,
) -> Config:
    """Reads one keepalived.conf and what it includes, as keepalived 2.2.7 would.

    source: its name is where relative includes begin. config_id: of `@ID` lines and `${_INSTANCE}`; keepalived takes the
    host name up to its first dot. strict: warnings are errors. draw: the number for `${_RANDOM LOW HIGH}`. hear: is
    told every warning, also when there are errors, whose cause may be in them.
    Raises ConfigError with every error: all that keepalived would not start with.
    """
    diagnostics = Diagnostics(strict=strict)
    lines = Lines(source, config_id, diagnostics, draw)
    walk = Walk(lines, diagnostics)
    known = trackers.Known()
    defaults = Draft("global_defs", Line(source.name, 0, "", "", ()))
    drafts = vrrp.Drafts(defaults.values)
    servers = servers_.Servers()
    table: Table = {
        **globals_.tables(defaults),
        **trackers.tables(known),
        **vrrp.tables(known, drafts),
        **statics.tables(known, drafts),
        **servers_.tables(known, servers),
    }
    walk.run(table)
    drafts.track_groups = known.groups
    instances, groups = Finish(walk, drafts).run()
    virtual = Pool(walk, servers, defaults.values).finish()
    _unused(walk, known, instances, groups)
    warnings = diagnostics.warnings()
    for warning in warnings if hear else ():
        assert hear is not None
        hear(warning)
    diagnostics.check()
    return Config(
        globals_.finish(defaults),
        scripts=tuple(known.scripts),
        files=tuple(known.files),
        processes=tuple(known.processes),
        bfds=tuple(known.bfds),
        track_groups=tuple(known.groups),
        instances=instances,
        groups=groups,
        static_addresses=tuple(drafts.addresses),
        static_routes=tuple(drafts.routes),
        static_rules=tuple(drafts.rules),
        interface_delays_ms=drafts.delays,
        server_groups=tuple(servers.groups),
        virtual_servers=virtual,
        ssl=servers.ssl,
        warnings=warnings,
    )


def _unused(walk: Walk, known: trackers.Known, instances: tuple[Instance, ...], groups: tuple[SyncGroup, ...]) -> None:
    """A script that nothing tracks is never run; `-t` does not say so."""
    tracked = chain(*(one.track_scripts for one in instances), *(one.track_scripts for one in groups))
    used = {one.name for one in tracked}
    for script in known.scripts:
        if script.name not in used:
            line = Line(script.place.file, script.place.line, "", "", ())
            walk.warn(line, f"Warning - script {script.name} is not used", "name it in a track_script block")
