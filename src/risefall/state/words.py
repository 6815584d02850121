"""What a server is called: in the status column, in result lines, in send-state's header.

Source: spec/haproxy-checks.md §3.8, §6.2, §7.2, traps 30-32, 55. What a tracker shows comes from the end of its chain
(`Fleet.ref`), but for the words `via <be>/<srv>`, which name the parent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from risefall.state.server import DRAIN, Admin, CheckState, Op, ServerState

if TYPE_CHECKING:
    from risefall.state.fleet import Fleet


def counter(server: ServerState) -> tuple[int, int, int]:
    """(health, rise, fall) of a server's health check, or of the one that HAProxy keeps for an unchecked server."""
    check = server.health
    if check is None:
        return server.idle_health, server.idle_rise, server.idle_fall
    return check.health, check.rise, check.fall


def runs(check: CheckState | None) -> bool:
    """Whether a check is there and enabled; maintenance pauses it, which is another matter."""
    return check is not None and check.enabled


def full_name(fleet: Fleet, index: int) -> str:
    """`<be>/<srv>`."""
    server = fleet.servers[index]
    return f"{fleet.proxies[server.proxy].name}/{server.name}"


def status_word(fleet: Fleet, index: int) -> str:
    """The status column of `show stat`: `UP`, `UP 1/3`, `DRAIN (agent)`, `MAINT (via b/s)`, `no check` ..."""
    server = fleet.servers[index]
    if server.admin & Admin.RMAINT:
        return "MAINT (resolution)"
    if server.admin & Admin.IMAINT:
        return f"MAINT (via {full_name(fleet, server.tracks)})"
    if server.admin & Admin.FMAINT:
        return "MAINT"
    ref = fleet.servers[fleet.ref(index)]
    if server.op is Op.STOPPED:
        return _stopped_word(ref)
    health, rise, fall = counter(ref)
    full = health == rise + fall - 1
    if server.op is Op.STOPPING:
        own_check = runs(server.health) or server.tracks >= 0
        return "NOLB" if full or not own_check else f"NOLB {_steps(ref)}"
    falling = runs(ref.health) and not full
    if server.admin & DRAIN:
        if runs(ref.agent):
            return "DRAIN (agent)"
        return f"DRAIN {_steps(ref)}" if falling else "DRAIN"
    if falling:
        return f"UP {_steps(ref)}"
    return "UP" if runs(ref.health) else "no check"


def _stopped_word(ref: ServerState) -> str:
    """The word of a STOPPED server whose chain ends at `ref`."""
    if ref.agent is not None and ref.agent.enabled and ref.agent.health == 0:
        return "DOWN (agent)"
    if runs(ref.health) and counter(ref)[0] == 0:
        return "DOWN"
    return f"DOWN {_steps(ref)}" if runs(ref.health) or runs(ref.agent) else "DOWN"


def _steps(ref: ServerState) -> str:
    """`n/m`: steps left until DOWN, or gone towards UP."""
    health, rise, fall = counter(ref)
    return f"{health}/{rise}" if ref.op is Op.STOPPED else f"{health - rise + 1}/{fall}"


def result_word(check: CheckState, uweight: int) -> str:
    """`3/3 UP` of a result line. It tells the counter, not the server; weight 0 says DRAIN (trap 32)."""
    if check.good:
        return f"{check.health - check.rise + 1}/{check.fall} {'UP' if uweight else 'DRAIN'}"
    return f"{check.health}/{check.rise} DOWN"


def state_text(server: ServerState) -> str:
    """send-state's word, of the server's own check: `DOWN`, `DOWN n/r`, `UP n/f`, `UP`, `NOLB n/f`, `NOLB`, `no check`."""
    check = server.health
    if check is None or not check.enabled:
        return "no check"
    if server.op is Op.STOPPED:
        return f"DOWN {check.health}/{check.rise}" if check.health else "DOWN"
    word = "NOLB" if server.op is Op.STOPPING else "UP"
    return word if check.health == check.full else f"{word} {check.health - check.rise + 1}/{check.fall}"


PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b'<>"')
"""Bytes of a description that a log line shows as they are."""


def encode_text(text: bytes) -> str:
    """A description as log lines show it: what is not plain ASCII, and `<`, `>`, `"`, as `<HH>`."""
    if PLAIN.issuperset(text):
        return text.decode("ascii")
    return "".join(chr(byte) if byte in PLAIN else f"<{byte:02X}>" for byte in text)
