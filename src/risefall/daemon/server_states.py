"""HAProxy's server-state files: which of them a configuration names, and what they hold. Read at start only.

Source: haproxy configuration manual 2.6, server-state-base, server-state-file, load-server-state-from-file,
server-state-file-name; run on 2.6.12: the first row of a server counts, and backends are known by their names.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from risefall.config.haproxy.model import Config, Proxy
from risefall.daemon.join import Join, now_ms
from risefall.state.server import Admin, ProxyState
from risefall.state.server_state_file import BadFile, BadRow, Row, apply, leading, parse
from risefall.state.words import full_name

GLOBAL = "config: "
FILE_MAX_BYTES = 256 << 20


class Found(msgspec.Struct):
    """Rows of the file that all backends share, rows of each backend's own, and what there is to say about the files.

    takes: the backends that look into the shared one.
    """

    shared: list[Row] = []
    own: dict[str, list[Row]] = {}
    takes: frozenset[str] = frozenset()
    notes: list[str] = []


def read_rows(config: Config) -> Found:
    """All that the files of a configuration say. Reads them whole: in a thread."""
    backends = [proxy for proxy in config.proxies if proxy.servers and not proxy.disabled]
    found = Found(takes=frozenset(proxy.name for proxy in backends if proxy.load_server_state == "global"))
    base = config.global_.server_state_base
    if file := config.global_.server_state_file:
        path = under(base, file)
        found.shared = read_file(path, GLOBAL, f"global server state file '{path}'", found.notes)
    for proxy in backends:
        if proxy.load_server_state == "local":
            path = under(base, local_name(proxy))
            found.own[proxy.name] = read_file(
                path, f"Proxy '{proxy.name}': ", f"server state file '{path}'", found.notes
            )
    return found


def local_name(proxy: Proxy) -> str:
    """The file of one proxy: named by `server-state-file-name`, else by the proxy."""
    return proxy.name if proxy.server_state_name in ("", "use-backend-name") else proxy.server_state_name


def under(base: str, name: str) -> str:
    """A file below `server-state-base`, where its name is relative."""
    return os.path.join(base, name) if base and not name.startswith("/") else name


def read_file(path: str, who: str, what: str, notes: list[str]) -> list[Row]:
    """The rows of one file; what is wrong with it goes to `notes` in HAProxy's words."""
    try:
        if Path(path).stat().st_size > FILE_MAX_BYTES:
            notes.append(f"{who}{what} is too big")
            return []
        # not by universal newlines: HAProxy ends a line at a line feed only
        return parse(Path(path).read_bytes().decode("utf-8", "surrogateescape"))
    except OSError as error:
        dot = "" if who == GLOBAL else "."
        notes.append(f"{who}Can't open {what}: {error.strerror}{dot}")
    except BadFile as bad:
        notes.append(
            f"{who}Can't get version of the {what}."
            if bad.line is None
            else f"{who}corrupted {what} at line {bad.line}."
        )
    return []


def rows_of(proxy: ProxyState, rows: list[Row], notes: list[str]) -> dict[str, Row]:
    """Those of a backend's own file that are its own, by server: the first of each counts."""
    found: dict[str, Row] = {}
    for row in rows:
        same_id, same_name = leading(row["be_id"]) == proxy.id, row["be_name"] == proxy.name
        if not same_id and not same_name:
            continue
        if not (same_id and same_name):
            what, told, ours = ("name", row["be_name"], proxy.name) if same_id else ("ID", row["be_id"], proxy.id)
            notes.append(
                f"Proxy '{proxy.name}': backend {what} mismatch: from server state file: '{told}', "
                f"from running config '{ours}'"
            )
            if not same_name:
                continue
        found.setdefault(row["srv_name"], row)
    return found


def apply_rows(join: Join, found: Found, known: Collection[int]) -> list[str]:
    """Gives the rows to the servers that nothing else is known of. Returns what there is to say."""
    notes: list[str] = []
    shared: dict[tuple[str, str], Row] = {}
    for row in found.shared:
        shared.setdefault((row["be_name"], row["srv_name"]), row)
    inherit = {index for index, server in enumerate(join.fleet.servers) if server.admin & Admin.IMAINT}
    for proxy in join.fleet.proxies:
        if not proxy.has_backend or proxy.disabled:
            continue
        takes = proxy.name in found.takes
        own = rows_of(proxy, found.own.get(proxy.name, []), notes)
        for index in proxy.own:
            server = join.fleet.servers[index].name
            mine = own.pop(server, None)
            told = shared.get((proxy.name, server)) if takes else mine
            if told is not None and index not in known:
                _apply_row(join, index, told, notes, inherits=index in inherit)
        notes += [f"Proxy '{proxy.name}': can't find server '{server}' in backend '{proxy.name}'" for server in own]
    return notes


def _apply_row(join: Join, index: int, row: Row, notes: list[str], *, inherits: bool) -> None:
    try:
        effects, wrong = apply(join.fleet, index, row, now_ms(), inherits=inherits)
    except BadRow as bad:
        notes.append(f"server-state application failed for server '{full_name(join.fleet, index)}', {bad}")
        return
    if wrong:
        notes.append(f"server-state partially applied for server '{full_name(join.fleet, index)}', {wrong}")
    join.apply(effects)
    join.tell_all(index, aims=True)
