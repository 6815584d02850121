"""HAProxy's own server-state file: what `show servers state` printed before, applied to the servers that are there now.

It is applied by the moves of the fleet, so that it tells what HAProxy tells, and leaves servers as HAProxy leaves them: not as
sensibly as `carrying` would (one that was disabled in the file and is not any more starts DOWN), but the same.
Source: spec/haproxy-checks.md §1.11; server_state.c of 2.6; every row was run on 2.6.12.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from risefall.state.aims import numeric
from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, HEALTH, MAINT, Admin, CheckState, Op, ServerState
from risefall.state.table import Move
from risefall.state.words import full_name
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
LINE_MAX = 1998
"""Bytes that fit beside the line feed into what HAProxy reads a line with."""
VERSION = re.compile(r"\s*[+]?0*1", re.ASCII)
BLANKS = re.compile("[ \t]+")
NUMBER = re.compile(r"\s*([+-]?[0-9]+)", re.ASCII)
DIGITS = re.compile("[0-9]+", re.ASCII)
WHOLE = re.compile("-?[0-9]{0,10}", re.ASCII)
NAME = re.compile("[-_.A-Za-z0-9]{1,253}", re.ASCII)
LONG_SPAN = 1 << 63
CAUSE = ", changed from server-state after a reload"
CONFIGURED, ENABLED = 0x02, 0x04
STATE_BITS = 0x1F
WEIGHT_MAX, PORT_MAX = 256, 65535
LASTING = ~int(Admin.IMAINT | Admin.IDRAIN | Admin.RMAINT | Admin.HMAINT)
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
    """A file that is none, or the line (from 1, after the version) at which it stops being one. line: None for the version."""

    def __init__(self, line: int | None) -> None:
        super().__init__(line)
        self.line = line


class BadRow(Exception):
    """Values that cannot be; the row is left out."""


def parse(text: str) -> list[Row]:
    """The rows. Raises: BadFile; no row of such a file counts."""
    version, end, rest = text.partition("\n")
    if not end or not VERSION.fullmatch(version):
        raise BadFile(None)
    rows = []
    lines = rest.split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX or (number == len(lines) and line):
            raise BadFile(number)  # a line without its end may be cut
        line = line.lstrip(" \t")
        if not line or line.startswith("#"):
            continue
        words = BLANKS.split(line)
        if len(words) < FIELDS_MIN:
            raise BadFile(number)
        rows.append(dict(zip(FIELDS, words, strict=False)))
    return rows


def leading(text: str) -> int | None:
    """The number at the beginning of a text, as strtol reads it; None where there is none."""
    match = NUMBER.match(text)
    value = int(match[1][:30]) if match else None
    return value if value is not None and -LONG_SPAN <= value < LONG_SPAN else None


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


RULES: tuple[tuple[str, str, Callable[[int], bool]], ...] = (
    ("op", "srv_op_state", lambda value: 0 <= value <= Op.STOPPING),
    ("admin", "srv_admin_state", lambda value: value & LASTING in ADMINS),
    ("uweight", "srv_uweight", lambda value: 0 <= value <= WEIGHT_MAX),
    ("iweight", "srv_iweight", lambda value: 0 <= value <= WEIGHT_MAX),
    ("since_s", "srv_time_since_last_change", lambda value: True),
    ("status", "srv_check_status", lambda value: value <= Status.PROCOK),
    ("verdict", "srv_check_result", lambda value: 0 <= value <= Verdict.CONDPASS),
    ("health", "srv_check_health", lambda value: True),
    ("check_state", "srv_check_state", lambda value: 0 <= value <= STATE_BITS),
    ("agent_state", "srv_agent_state", lambda value: 0 <= value <= STATE_BITS),
    ("", "bk_f_forced_id", lambda value: value in (0, 1)),
    ("", "srv_f_forced_id", lambda value: value in (0, 1)),
)
CALLED = {"srv_time_since_last_change": "srv_last_time_change"}


def read(row: Row) -> Wanted:
    """The values of a row. Raises: BadRow, with all that is wrong in it in HAProxy's words."""
    found: dict[str, int] = {}
    wrong = []
    for field, name, valid in RULES:
        value = leading(row[name])
        if value is None or not valid(value):
            wrong.append(f"invalid {CALLED.get(name, name)} value '{row[name]}'")
        else:
            found[field] = value
    fqdn = row["srv_fqdn"]
    if not fqdn.startswith("-") and not NAME.fullmatch(fqdn):
        wrong.append(f"invalid srv_fqdn value '{fqdn}'")
    digits = DIGITS.match(row["srv_port"])
    port = int(digits[0][:9] or 0) if digits else 0
    if port > PORT_MAX:
        wrong.append(f"invalid srv_port value '{row['srv_port']}'")
    if wrong:
        raise BadRow(", ".join(wrong))
    return Wanted(
        op=Op(found["op"]),
        admin=Admin(found["admin"] & LASTING),
        uweight=found["uweight"],
        iweight=found["iweight"],
        since_s=found["since_s"],
        status=Status(found["status"]) if found["status"] in set(Status) else Status.UNK,
        verdict=Verdict(found["verdict"]),
        health=found["health"],
        check_state=found["check_state"],
        agent_state=found["agent_state"],
        port=port,
    )


def apply(fleet: Fleet, index: int, row: Row, now_ms: int, *, inherits: bool = False) -> tuple[Effects, str]:
    """Makes a server what its row says, before the first check. Also what could not be: "" for nothing. Raises: BadRow.

    inherits: by the file it is in maintenance with whom it tracks. In HAProxy that comes after the rows, and resets its date.
    """
    wanted = read(row)
    work = Work(fleet, now_ms)
    server = fleet.servers[index]
    steps = _admin_steps(server, wanted)
    dated = _apply_state(fleet, work, index, wanted, told=bool(steps))
    for setting, flag in steps:
        said = len(work.effects.lines)
        fleet.administer(work, index, ((setting, flag),))
        if setting:  # HAProxy says nothing of it while it starts
            del work.effects.lines[said:]
    if inherits and server.admin & MAINT == Admin.IMAINT:
        server.idle_health = 0
    elif steps or not dated:
        server.changed_ms = now_ms - wanted.since_s * 1000
    if server.health is not None:
        server.health.status, server.health.verdict = wanted.status, wanted.verdict
        _switch_off(work, index, HEALTH, server.health, wanted.check_state)
    if server.agent is not None:
        _switch_off(work, index, AGENT, server.agent, wanted.agent_state)
    # where the file's weight is another one, that of the file is set once more: a drained server says so
    fleet.weigh(work, index, wanted.uweight if wanted.iweight == server.iweight else server.uweight)
    wrong = _apply_addresses(server, row, wanted)
    return work.finish(), wrong


def _admin_steps(server: ServerState, wanted: Wanted) -> list[tuple[bool, Admin]]:
    """What is set (True) and cleared; a `disabled` that came into the file or left it counts for more."""
    steps = []
    ours, theirs = bool(server.admin & Admin.CMAINT), bool(wanted.admin & Admin.CMAINT)
    forced = bool(wanted.admin & Admin.FMAINT)
    if ours == theirs and forced != ours:
        steps.append((forced, Admin.FMAINT))
    stays = forced if ours == theirs else bool(server.admin & Admin.FMAINT)
    if wanted.admin & Admin.FDRAIN and (wanted.iweight > 0 or server.iweight == 0) and not stays:
        steps.append((True, Admin.FDRAIN))
    return steps


def _apply_state(fleet: Fleet, work: Work, index: int, wanted: Wanted, *, told: bool) -> bool:
    """The operational state and the counter. Whether it is dated now: a slowstart begins anew.

    told: HAProxy tells of one that is over as well, since an administrative step follows.
    """
    server = fleet.servers[index]
    check = server.health
    rise, full = (check.rise, check.full) if check is not None else (server.idle_rise, server.idle_full)
    health, move, starting = full, Move.RUN, False
    match wanted.op:
        case Op.STOPPED:
            health, move = 0, Move.STOP
        case Op.STARTING if rise > 1:
            health = wanted.health if 1 <= wanted.health < rise else rise - 1
            move, starting = Move.NONE, not server.admin & MAINT
        case Op.STOPPING if full == rise:
            health, move = 0, Move.STOP
        case Op.STOPPING:
            health, move = wanted.health if rise <= wanted.health < full else rise, Move.UNLOAD
    if check is not None:
        work.force(index, HEALTH, health=health)
    else:
        server.idle_health = health
    said = len(work.effects.lines)
    fleet.move(work, index, move, "" if move is Move.RUN else CAUSE)
    if server.tracks >= 0 and len(work.effects.lines) > said:  # the cause takes the place of whom it tracks
        line = work.effects.lines[said]
        text = line.text.replace(f"{CAUSE} via {full_name(fleet, server.tracks)}", CAUSE)
        work.effects.lines[said] = msgspec.structs.replace(line, text=text)
    op = Op.STARTING if server.slowstart_ms > wanted.since_s * 1000 else Op.RUNNING
    if not starting or (server.op is op and not told):
        return False
    fleet.resume(work, index, op)
    return True


def _switch_off(work: Work, index: int, which: int, check: CheckState, state: int) -> None:
    """Only what a hand has taken back is taken over."""
    if check.configured and state & CONFIGURED and not state & ENABLED:
        work.force(index, which, enabled=False)


def _apply_addresses(server: ServerState, row: Row, wanted: Wanted) -> str:
    """Where a server and its checks are, as far as 2.6 takes it over: the address only of one with a name. Returns what is wrong."""
    server.port = wanted.port
    if server.fqdn and (address := numeric(row["srv_addr"])):
        server.address = address
    if server.ssl_ready and (use := leading(row.get("srv_use_ssl", ""))) is not None:
        server.ssl, server.ssl_refused = use != 0, use < 0
    for which, name in ((HEALTH, "check"), (AGENT, "agent")):
        if wrong := _send(server, which, row.get(f"srv_{name}_addr", "-"), row.get(f"srv_{name}_port", "0")):
            return wrong
    return ""


def _send(server: ServerState, which: int, address: str, port: str) -> str:
    """Where one check goes; nothing of it where anything is wrong, which is returned."""
    check = server.agent if which == AGENT else server.health
    if address == "-" and port == "0":
        return ""
    if check is None or not check.enabled:
        return f"{'agent' if which == AGENT else 'health'} checks are not enabled on this server"
    host = "" if address == "-" else numeric(address)
    if address != "-" and not host:
        return f"invalid addr '{address}'"
    if not WHOLE.fullmatch(port):
        return "provided port is not an integer"
    number = int(port.removeprefix("-") or 0)
    if number > PORT_MAX or (number and port[0] == "-"):
        return "provided port is invalid"
    if which == AGENT:
        server.agent_addr, server.agent_port = host or server.agent_addr, server.agent_port if port == "0" else number
    else:
        server.check_addr, server.check_port = host or server.check_addr, server.check_port if port == "0" else number
    return ""
