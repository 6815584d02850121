"""The options behind `TUN` of lvs_method, lb_kind and sorry_server_lvs_method.

Source: man page keepalived.conf(5); observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

from risefall.config.keepalived import numbers
from risefall.config.keepalived.blocks import Walk
from risefall.config.keepalived.model import Line

TYPES = ("ipip", "gue", "gre")
SUMS = ("nocsum", "csum", "remcsum")


def read_tunnel(walk: Walk, line: Line, kind: str) -> None:
    """kind: virtual, real or sorry, of which server the line is."""
    words, at = line.words, 2
    tunnel, port, checksum = "ipip", None, "nocsum"
    while at < len(words):
        given = words[at]
        if given in SUMS:
            checksum = given
            at += 1
            continue
        if given not in ("type", "port"):
            text = f"Invalid tunnel option {given} for {kind} server."
            walk.warn(line, text, f"known are type, port, {', '.join(SUMS)}", at)
            return
        if at + 1 >= len(words):
            what, tail = ("tunnel type", ".") if given == "type" else ("port", " gue tunnel.")
            walk.warn(line, f"Missing {what} for {kind} server{tail}", "write one behind it", at + 1)
            return
        value = words[at + 1]
        if given == "type":
            if value not in TYPES:
                walk.warn(line, f"Unknown tunnel type {value} for {kind} server.", "write ipip, gue or gre", at + 1)
                return
            tunnel = value
        else:
            text = f"Invalid gue tunnel port {value} for {kind} server."
            port = walk.judge(line, at + 1, numbers.unsigned(value, 1, 65535), text)
            if port is None:
                return
        at += 2
    wrong = ""
    if (tunnel == "gue") != (port is not None):
        wrong = "gue tunnels require port, otherwise cannot have port."
    elif tunnel == "ipip" and checksum != "nocsum":
        wrong = "ipip tunnels do not support checksum option."
    elif tunnel == "gre" and checksum == "remcsum":
        wrong = "gre tunnels do not support remote checksum option."
    if wrong:
        walk.warn(line, wrong, "see lvs_method in keepalived.conf(5)", 1)
