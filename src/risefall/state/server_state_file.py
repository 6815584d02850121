"""HAProxy's own server-state file: what `show servers state` printed before, applied to the servers that are there now.

It is applied by the moves of the fleet, so that it tells what HAProxy tells, and leaves servers as HAProxy leaves them: not as
sensibly as `carrying` would (one that was disabled in the file and is not any more starts DOWN), but the same.
Source: spec/haproxy-checks.md §1.11; server_state.c of 2.6; every row was run on 2.6.12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, HEALTH, Admin, CheckState, Op, ServerState
from risefall.state.table import Move
from risefall.state.work import Effects, Work
from risefall.status import Status, Verdict

FIELDS = [
    "be_id",
    "be_name",
    "srv_id",
    "srv_name",
    "srv_addr",
    "srv_op_state",
    "srv_admin_state",
    "srv_uweight",
    "srv_iweight",
    "srv_time_since_last_change",
    "srv_check_status",
    "srv_check_result",
    "srv_check_health",
    "srv_check_state",
    "srv_agent_state",
    "bk_f_forced_id",
    "srv_f_forced_id",
    "srv_fqdn",
    "srv_port",
    "srvrecord",
    "srv_use_ssl",
    "srv_check_port",
    "srv_check_addr",
    "srv_agent_addr",
    "srv_agent_port",
]
FIELDS_MIN = 20
VERSION = "1"
CAUSE = ", changed from server-state after a reload"
CONFIGURED, ENABLED = 0x02, 0x04
STATE_BITS = 0x1F
WEIGHT_MAX, PORT_MAX = 256, 65535
LASTING = ~(Admin.IMAINT | Admin.IDRAIN | Admin.RMAINT | Admin.HMAINT)
ADMINS = (
    Admin(0),
    Admin.FMAINT,
    Admin.CMAINT,
    Admin.CMAINT | Admin.FMAINT,
    Admin.CMAINT | Admin.FDRAIN,
    Admin.FDRAIN,
)

Row = dict[str, str]


class BadFile(Exception):
    """A file that is none, or the line (from 1, after the version) at which it stops being one."""

    def __init__(self, line: int | None) -> None:
        super().__init__(line)
        self.line = line


class BadRow(Exception):
    """A value that cannot be; the row is left out."""


def parse(text: str) -> Iterator[tuple[str, str, Row]]:
    """Backend, server and values of each row. Raises: BadFile; rows before the bad line count."""
    version, _, rest = text.partition("\n")
    if version.strip() != VERSION:
        raise BadFile(None)
    lines = rest.split("\n")
    for number, line in enumerate(lines, 1):
        if number == len(lines) and line:
            raise BadFile(number)  # a line without its end may be cut
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < FIELDS_MIN:
            raise BadFile(number)
        row = dict(zip(FIELDS, words, strict=False))
        yield row["be_name"], row["srv_name"], row


class Wanted(msgspec.Struct, frozen=True):
    """One row, read."""

    op: Op
    admin: Admin
    uweight: int
    iweight: int
    since_s: int
    status: Status
    verdict: Verdict
    health: int
    check_state: int
    agent_state: int
    port: int


def read(row: Row) -> Wanted:
    """The values of a row. Raises: BadRow in HAProxy's words."""

    def number(name: str, valid: Callable[[int], bool]) -> int:
        text = row[name]
        try:
            value = int(text)
        except ValueError:
            value = -1
            text_ok = False
        else:
            text_ok = valid(value)
        if not text_ok:
            raise BadRow(f"invalid {name} value '{text}'")
        return value

    statuses, verdicts = {one.value for one in Status}, {one.value for one in Verdict}
    return Wanted(
        op=Op(number("srv_op_state", lambda value: 0 <= value <= Op.STOPPING)),
        admin=Admin(number("srv_admin_state", lambda value: Admin(value & 0x7F) & LASTING in ADMINS and value < 0x80))
        & LASTING,
        uweight=number("srv_uweight", lambda value: 0 <= value <= WEIGHT_MAX),
        iweight=number("srv_iweight", lambda value: 0 <= value <= WEIGHT_MAX),
        since_s=number("srv_time_since_last_change", lambda value: True),
        status=Status(number("srv_check_status", lambda value: value in statuses)),
        verdict=Verdict(number("srv_check_result", lambda value: value in verdicts)),
        health=number("srv_check_health", lambda value: True),
        check_state=number("srv_check_state", lambda value: 0 <= value <= STATE_BITS),
        agent_state=number("srv_agent_state", lambda value: 0 <= value <= STATE_BITS),
        port=number("srv_port", lambda value: 0 <= value <= PORT_MAX),
    )


def apply(fleet: Fleet, index: int, row: Row, now_ms: int) -> Effects:
    """Makes a server what its row says. Before the first check. Raises: BadRow."""
    wanted = read(row)
    work = Work(fleet, now_ms)
    server = fleet.servers[index]
    _apply_state(fleet, work, index, wanted, now_ms)
    _apply_admin(fleet, work, index, wanted)
    server.changed_ms = now_ms - wanted.since_s * 1000
    if server.health is not None:
        server.health.status, server.health.verdict = wanted.status, wanted.verdict
        _switch_off(work, index, HEALTH, server.health, wanted.check_state)
    if server.agent is not None:
        _switch_off(work, index, AGENT, server.agent, wanted.agent_state)
    if wanted.iweight == server.iweight and fleet.accepts(index, wanted.uweight):
        fleet.weigh(work, index, wanted.uweight)
    _apply_addresses(server, row, wanted)
    return work.finish()


def _apply_state(fleet: Fleet, work: Work, index: int, wanted: Wanted, now_ms: int) -> None:
    server = fleet.servers[index]
    check = server.health
    rise, full = (check.rise, check.full) if check is not None else (2, 4)
    health, move, op = full, Move.RUN, None
    match wanted.op:
        case Op.STOPPED:
            health, move = 0, Move.STOP
        case Op.STARTING if rise > 1:
            health = wanted.health if 1 <= wanted.health < rise else rise - 1
            left = server.slowstart_ms > wanted.since_s * 1000
            move, op = Move.NONE, Op.STARTING if left else None
        case Op.STOPPING if full == rise:
            health, move = 0, Move.STOP
        case Op.STOPPING:
            health, move = wanted.health if rise <= wanted.health < full else rise, Move.UNLOAD
    if check is not None:
        work.force(index, HEALTH, health=health)
    fleet.move(work, index, move, CAUSE)
    if op is not None:
        fleet.resume_slowstart(work, index)


def _apply_admin(fleet: Fleet, work: Work, index: int, wanted: Wanted) -> None:
    server = fleet.servers[index]
    ours, theirs = server.admin & Admin.CMAINT, wanted.admin & Admin.CMAINT
    if bool(ours) == bool(theirs):
        if wanted.admin & Admin.FMAINT and not ours:
            fleet.administer(work, index, ((True, Admin.FMAINT),))
        elif not wanted.admin & Admin.FMAINT and ours:
            fleet.administer(work, index, ((False, Admin.FMAINT),))
    draining = wanted.admin & Admin.FDRAIN and (wanted.iweight > 0 or server.iweight == 0)
    if draining and not server.admin & Admin.FMAINT:
        fleet.administer(work, index, ((True, Admin.FDRAIN),))


def _switch_off(work: Work, index: int, which: int, check: CheckState, state: int) -> None:
    """Only what a hand has taken back is taken over."""
    if check.configured and state & CONFIGURED and not state & ENABLED:
        work.force(index, which, enabled=False)


def _apply_addresses(server: ServerState, row: Row, wanted: Wanted) -> None:
    """Where a server and its checks are, as far as 2.6 takes it over: the address only of one with a name."""
    if wanted.port:
        server.port = wanted.port
    if server.fqdn and row.get("srv_fqdn") == server.fqdn and row["srv_addr"] != "-":
        server.address = row["srv_addr"]
    if server.health is not None and server.health.enabled:
        server.check_addr = _address(row, "srv_check_addr") or server.check_addr
        server.check_port = _port(row, "srv_check_port") or server.check_port
    if server.agent is not None and server.agent.enabled:
        server.agent_addr = _address(row, "srv_agent_addr") or server.agent_addr
        server.agent_port = _port(row, "srv_agent_port") or server.agent_port


def _address(row: Row, name: str) -> str:
    value = row.get(name, "-")
    return "" if value == "-" else value


def _port(row: Row, name: str) -> int:
    value = row.get(name, "0")
    return int(value) if value.isascii() and value.isdigit() and int(value) <= PORT_MAX else 0
