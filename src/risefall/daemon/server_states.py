"""HAProxy's server-state files: which of them a configuration names, and what they hold. Read at start only.

Source: haproxy configuration manual 2.6, server-state-base, server-state-file, load-server-state-from-file,
server-state-file-name; run on 2.6.12: the first row of a server counts, and backends are known by their names.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from risefall.config.haproxy.model import Config, Proxy
from risefall.daemon.join import Join, now_ms
from risefall.state.server_state_file import BadFile, BadRow, Row, apply, parse

GLOBAL = "config: "
FILE_MAX_BYTES = 256 << 20
Rows = dict[tuple[str, str], Row]


def read_rows(config: Config) -> tuple[Rows, list[str]]:
    """Rows by backend and server, and what there is to say about the files."""
    rows: Rows = {}
    notes: list[str] = []
    global_file = config.global_.server_state_file
    takes_global = {proxy.name for proxy in config.proxies if proxy.load_server_state == "global"}
    if global_file and takes_global:
        path = under(config.global_.server_state_base, global_file)
        found = read_file(path, GLOBAL, f"global server state file '{path}'", notes)
        rows |= {key: row for key, row in found.items() if key[0] in takes_global}
    for proxy in config.proxies:
        if proxy.load_server_state == "local" and proxy.servers:
            path = under(config.global_.server_state_base, local_name(proxy))
            found = read_file(path, f"Proxy '{proxy.name}': ", f"server state file '{path}'", notes)
            rows |= {key: row for key, row in found.items() if key[0] == proxy.name}
    return rows, notes


def local_name(proxy: Proxy) -> str:
    """The file of one proxy: named by `server-state-file-name`, else by the proxy."""
    return proxy.name if proxy.server_state_name in ("", "use-backend-name") else proxy.server_state_name


def under(base: str, name: str) -> str:
    """A file below `server-state-base`, where its name is relative."""
    return os.path.join(base, name) if base and not name.startswith("/") else name


def read_file(path: str, who: str, what: str, notes: list[str]) -> Rows:
    """The rows of one file; what is wrong with it goes to `notes` in HAProxy's words."""
    rows: Rows = {}
    try:
        if Path(path).stat().st_size > FILE_MAX_BYTES:
            notes.append(f"{who}{what} is too big")
            return rows
        text = Path(path).read_text("utf-8", "surrogateescape")
    except OSError as error:
        dot = "" if who == GLOBAL else "."
        notes.append(f"{who}Can't open {what}: {error.strerror}{dot}")
        return rows
    try:
        for backend, server, row in parse(text):
            rows.setdefault((backend, server), row)
    except BadFile as bad:
        notes.append(
            f"{who}Can't get version of the {what}."
            if bad.line is None
            else f"{who}corrupted {what} at line {bad.line}."
        )
    return rows


def apply_rows(join: Join, rows: Rows, known: Collection[int]) -> list[str]:
    """Gives the rows to the servers that nothing else is known of. Returns what there is to say."""
    notes = []
    for index, server in enumerate(join.fleet.servers):
        proxy = join.fleet.proxies[server.proxy]
        row = rows.get((proxy.name, server.name)) if proxy.has_backend and not proxy.disabled else None
        if row is None or index in known:
            continue
        try:
            join.apply(apply(join.fleet, index, row, now_ms()))
        except BadRow as bad:
            notes.append(f"server-state application failed for server '{proxy.name}/{server.name}', {bad}")
        else:
            join.tell_all(index, aims=True)
    return notes
