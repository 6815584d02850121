"""The lines that a server's life writes, word for word, with their syslog levels.

Source: spec/haproxy-checks.md §6.2, §6.3, §1.10, traps 33-35; tests/diff/recorded.jsonl holds those of a real 2.6. Sessions
and queues are those of a proxy that carries no traffic: always 0. Every text ends with its dot, without a newline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from risefall.state.exchange import CheckResult
from risefall.state.server import AGENT, DRAIN, Admin, CheckState, Op, ProxyState, ServerState
from risefall.state.words import encode_text, result_word
from risefall.status import Verdict

if TYPE_CHECKING:
    from risefall.config.haproxy.dialect import Dialect

EMERG, ALERT, NOTICE = 0, 1, 5
"""Syslog levels."""

CLI = ", changed from CLI"
"""The `why` of what the runtime API did."""

ENTERED = {Op.STOPPED: "DOWN", Op.STARTING: "UP", Op.RUNNING: "UP", Op.STOPPING: "stopping"}
"""The word behind `is` when a server enters a state."""


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """One line for the log targets of a proxy. proxy: its index; level: syslog's, 0 .. 7."""

    proxy: int
    level: int
    text: str


class Subject(msgspec.Struct, frozen=True):
    """Whom a line is about. parent: `<be>/<srv>` of the server it tracks, else ``."""

    proxy: ProxyState
    server: ServerState
    parent: str = ""

    @property
    def name(self) -> str:
        """`Backup Server b/s`, or without `Backup `."""
        return f"{'Backup ' if self.server.backup else ''}Server {self.proxy.name}/{self.server.name}"

    @property
    def via(self) -> str:
        return f" via {self.parent}" if self.parent else ""

    def says(self, level: int, text: str) -> LogLine:
        return LogLine(self.server.proxy, level, f"{self.name} {text}.")


def reason(result: CheckResult) -> str:
    """`, reason: ...[, code: n][, info: "..."][, check duration: nms]`."""
    code = f", code: {result.code}" if result.status.has_code else ""
    info = f', info: "{encode_text(result.text)}"' if result.text else ""
    duration = f", check duration: {result.duration_ms}ms" if result.duration_ms >= 0 else ""
    return f", reason: {result.status.text}{code}{info}{duration}"


def result_line(who: Subject, which: int, check: CheckState, result: CheckResult) -> LogLine:
    """The line of `option log-health-checks`; `check` already holds the result."""
    server = who.server
    passed = result.verdict in (Verdict.PASSED, Verdict.CONDPASS)
    text = (
        f"{'Agent' if which == AGENT else 'Health'} check for {'backup ' if server.backup else ''}server "
        f"{who.proxy.name}/{server.name} "
        f"{'conditionally ' if result.verdict is Verdict.CONDPASS else ''}{'succeeded' if passed else 'failed'}"
        f"{reason(result)}, status: {result_word(check, server.uweight)}."
    )
    return LogLine(server.proxy, NOTICE, text)


def counts(who: Subject) -> str:
    """The tail about who is left, or online; counted after the change, so the server must already be changed."""
    active, backup = who.proxy.active, who.proxy.backup_active
    on_backup = " Running on backup." if backup and not active else ""
    if who.server.op is Op.STOPPED:
        tail = f"left.{on_backup} 0 sessions active, 0 requeued, 0 remaining in queue"
    else:
        tail = f"online.{on_backup} 0 sessions requeued, 0 total in queue"
    return f". {active} active and {backup} backup servers {tail}"


def state_line(who: Subject, why: str, *, was_leaving: bool) -> LogLine:
    """The server has entered its operational state. was_leaving: it was STOPPING or draining before (trap 34).

    What has a reason of its own, such as a command, names no parent (run on 2.6.12).
    """
    op = who.server.op
    level = ALERT if op is Op.STOPPED and not was_leaving else NOTICE
    return who.says(level, f"is {ENTERED[op]}{why or who.via}{counts(who)}")


def enters_maintenance(who: Subject, cause: str, *, was_down: bool, was_leaving: bool) -> LogLine:
    """The server has entered maintenance; a forced one names no parent. cause: of a resolution's, else ``."""
    told = f" ({cause})" if cause else ""
    via = "" if who.server.admin & Admin.FMAINT else who.via
    if was_down:
        return who.says(NOTICE, f"was DOWN and now enters maintenance{told}{via}")
    return who.says(NOTICE if was_leaving else ALERT, f"is going DOWN for maintenance{told}{via}{counts(who)}")


def leaves_maintenance(who: Subject, gone: Admin) -> list[LogLine]:
    """The last of its maintenance flags, `gone`, has left the server."""
    word = f"is {_up_or_down(who)}/{'DRAIN' if who.server.admin & DRAIN else 'READY'}"
    lines = []
    if gone & Admin.FMAINT:
        lines.append(who.says(NOTICE, f"{word} (leaving forced maintenance)"))
    if gone & Admin.RMAINT:
        lines.append(who.says(NOTICE, f"('{who.server.fqdn}') {word} (resolves again)"))
    if gone & Admin.IMAINT:
        lines.append(who.says(NOTICE, f"{word} (leaving maintenance)"))
    return lines


def remains_in_maintenance(who: Subject, gone: Admin) -> list[LogLine]:
    """One reason of its maintenance has ended, another one stays."""
    lines = []
    if gone & Admin.FMAINT:
        lines.append(who.says(NOTICE, f"is leaving forced maintenance but remains in maintenance{who.via}"))
    if gone & Admin.RMAINT:
        text = f"('{who.server.fqdn}') resolves again but remains in maintenance{who.via}"
        lines.append(who.says(NOTICE, text))
    elif gone & Admin.IMAINT:
        lines.append(who.says(NOTICE, "remains in forced maintenance"))
    return lines


def enters_drain(who: Subject) -> LogLine:
    via = "" if who.server.admin & Admin.FDRAIN else who.via
    return who.says(NOTICE, f"enters drain state{via}{counts(who)}")


def leaves_drain(who: Subject, gone: Admin, dialect: Dialect) -> LogLine:
    """2.6 calls every drain a forced one."""
    if dialect.drain_leaves_via and not gone & Admin.FDRAIN:
        return who.says(NOTICE, f"is {_up_or_down(who)} (leaving drain){who.via}")
    return who.says(NOTICE, f"is {_up_or_down(who)} (leaving forced drain)")


def remains_in_drain(who: Subject, dialect: Dialect) -> LogLine:
    if who.server.admin & Admin.FDRAIN:
        return who.says(NOTICE, "remains in forced drain mode")
    leaving = "" if dialect.drain_remains_short else "is leaving forced drain but "
    return who.says(NOTICE, f"{leaving}remains in drain mode{who.via}")


def no_server(index: int, proxy: ProxyState) -> LogLine:
    """The proxy's last usable server has gone."""
    kind = "proxy" if proxy.kind == "listen" else "backend"
    return LogLine(index, EMERG, f"{kind} {proxy.name} has no server available!")


def _up_or_down(who: Subject) -> str:
    return "DOWN" if who.server.op is Op.STOPPED else "UP"
