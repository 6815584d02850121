"""Network namespaces by name, as `ip netns` and HAProxy know them. Source: haproxy configuration manual 2.6, §5.2 namespace."""

from __future__ import annotations

import os
from pathlib import Path

from risefall.config.haproxy.plan import PlannedServer
from risefall.engine.layout import NotChecked

FOLDER = Path("/var/run/netns")
CAP_SYS_ADMIN = 21

_opened: dict[tuple[str, int, int], int] = {}
"""Descriptors that are kept for the whole run: the engine's sockets are made through them. One that is made anew is another."""


def namespace_fd(name: str) -> int:
    """A descriptor of a namespace. Raises NotChecked with the reason."""
    path = FOLDER / name
    try:
        found = path.stat()
        key = (name, found.st_dev, found.st_ino)
        if key not in _opened:
            _opened[key] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise NotChecked(f"cannot open namespace '{name}': {getattr(error, 'strerror', None) or error}") from error
    if not may_enter():
        raise NotChecked(f"namespace '{name}': entering it takes CAP_SYS_ADMIN")
    return _opened[key]


def namespace_of(planned: PlannedServer) -> int:
    """Where the connections are made, 0 for our own; `*`, that of a PROXY header, means nothing in a check. Raises NotChecked."""
    return namespace_fd(planned.namespace) if planned.namespace not in ("", "*") else 0


def may_enter() -> bool:
    """Whether this process may enter namespaces."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1)
    return False
