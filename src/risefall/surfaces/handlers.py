"""The table of commands. The rules of a server's life are in `state`; a handler reads words, calls it, and hands what
follows to the daemon.

Source: spec/haproxy-checks.md §5.4, §7.1, §7.3-7.6.
"""

from __future__ import annotations

from risefall.surfaces.changes import CHANGES
from risefall.surfaces.growing import GROWING
from risefall.surfaces.keeping import KEEPING
from risefall.surfaces.looks import LOOKS
from risefall.surfaces.vrrp import VRRP

COMMANDS = (*CHANGES, *GROWING, *KEEPING, *LOOKS, *VRRP)
"""Every command but those about the session itself (`runtime.SESSION_COMMANDS`)."""
