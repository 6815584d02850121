"""The table of commands. The rules of a server's life are in `state`; a handler reads words, calls it, and hands what
follows to the daemon.

Source: spec/haproxy-checks.md §5.4, §7.1, §7.3-7.6.
"""

from __future__ import annotations

from risefall.surfaces.calls import Command
from risefall.surfaces.changes import CHANGES
from risefall.surfaces.growing import GROWING
from risefall.surfaces.keeping import KEEPING
from risefall.surfaces.looks import LOOKS
from risefall.surfaces.newer import NEWER
from risefall.surfaces.vrrp import VRRP

COMMANDS: tuple[Command, ...] = (*CHANGES, *GROWING, *KEEPING, *LOOKS, *VRRP)
"""Every command but those about the session itself (`runtime.SESSION_COMMANDS`)."""

COMMANDS_3: tuple[Command, ...] = (*NEWER, *COMMANDS)
"""The same where HAProxy 3 is imitated; longer names come first."""
