"""How one run of the daemon is to be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from risefall.daemon.companion import Asked, Read


class Options(msgspec.Struct, frozen=True):
    """How to run. log: `config`, `stderr` or `none`. span_s: end after it. stats_s: tell figures so often.

    slots: checks under way at once, 0 for as many as descriptors allow. socket_path: "" for the usual place.
    serve_config: also what the configuration itself opens: stats sockets and monitor-uri. state_dir: where the state is kept over restarts, "" for nowhere.
    push: runtime sockets of HAProxys whose servers are set from here. push_only: of these backends; all where empty.
    beside: what to do beside keepalived, None for nothing; beside_read: its files.
    """

    log: str = "config"
    span_s: float | None = None
    stats_s: float | None = None
    workers: int = 1
    slots: int = 0
    as_json: bool = False
    runtime_socket: bool = True
    socket_path: str = ""
    state_dir: str = ""
    serve_config: bool = False
    push: tuple[str, ...] = ()
    push_only: tuple[str, ...] = ()
    beside: Asked | None = None
    beside_read: Read | None = None
