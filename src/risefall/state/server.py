"""One server and one proxy as values: the words of HAProxy's `show servers state`, kept small.

A fleet is a hundred thousand of these, so they hold numbers and short texts only; what many servers say alike is
interned by the reader. Source: spec/haproxy-checks.md §1.2, §1.3, §5.1, §7.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag

import msgspec

from risefall.state.exchange import Aim
from risefall.status import Status, Verdict

HEALTH, AGENT = 0, 1
"""Which of a server's two checks."""


class Op(IntEnum):
    """Operational state: srv_op_state of `show servers state`."""

    STOPPED = 0
    STARTING = 1
    RUNNING = 2
    STOPPING = 3


class Admin(IntFlag):
    """Administrative state: srv_admin_state of `show servers state` (spec §5.1)."""

    FMAINT = 0x01
    IMAINT = 0x02
    CMAINT = 0x04
    FDRAIN = 0x08
    IDRAIN = 0x10
    RMAINT = 0x20
    HMAINT = 0x40


class Moved(IntFlag):
    """What commands have changed of what the file says; it outlives a reload (spec §1.11)."""

    ADDR = 0x01
    CHECK = 0x02
    AGENT = 0x04
    SSL = 0x08
    NAME = 0x10


MAINT = Admin.FMAINT | Admin.IMAINT | Admin.RMAINT
DRAIN = Admin.FDRAIN | Admin.IDRAIN


class Pins(msgspec.Struct, frozen=True, gc=False):
    """What the file says of a check's way that no column shows; shared by all servers that say the same.

    health: address ("" for the check's own) and port of the rule that connects first. health_port, agent_port: the port
    that is part of `addr` and `agent-addr`.
    """

    health: Aim | None = None
    health_port: int = 0
    agent_port: int = 0

    def without_port(self, which: int) -> Pins:
        """Once a command has given a check another address, the port of the old one is gone."""
        if which == HEALTH:
            return self if not self.health_port else Pins(self.health, 0, self.agent_port)
        return self if not self.agent_port else Pins(self.health, self.health_port, 0)


NO_PINS = Pins()


class CheckState(msgspec.Struct, gc=False):
    """One check of one server as Python knows it: what was news last. The live figures are in C's record.

    configured: the file asks for it. enabled: not taken back by `disable health|agent`. paused: the server is in
    maintenance. epoch: of the last order that overrides a running check; news of an older epoch is dropped.
    rise, fall, health: the counter, 0 .. rise + fall - 1. fails_before: what C had counted of failures when its
    counter was cleared.
    """

    rise: int
    fall: int
    health: int
    configured: bool = True
    enabled: bool = True
    paused: bool = False
    epoch: int = 0
    status: Status = Status.INI
    verdict: Verdict = Verdict.UNKNOWN
    code: int = 0
    duration_ms: int = -1
    text: bytes = b""
    fails_before: int = 0

    @property
    def full(self) -> int:
        """The top of the counter."""
        return self.rise + self.fall - 1

    @property
    def good(self) -> bool:
        return self.health >= self.rise


class Watch(msgspec.Struct):
    """`observe` of one server. errors: bad ones in a row since the last good one. limit_reached: how often; CSV's hanafail."""

    layer7: bool
    on_error: str
    limit: int
    errors: int = 0
    limit_reached: int = 0


class ServerState(msgspec.Struct):
    """One server. health and agent are None where the file asks for no such check.

    proxy: index in the fleet's proxies. sid: HAProxy's id. address, port, fqdn: as shown; address "" while a
    name is unresolved. tracks: index of the server it tracks, or -1; trackers: indices that track this one.
    weights: iweight of the file, uweight set last. changed_ms: when op or admin changed last.
    down_ms: time spent DOWN in earlier spells. init_state: word of the file, "" for none.
    ssl_ready: its line has TLS settings, so that `ssl` can be switched; ssl_refused: it says `no-ssl`, which is shown until then.
    watch: what `observe` and `on-error` ask for, and how it stands.
    needed: another line of the file speaks of it, so it cannot be deleted.
    dynamic: the runtime API has added it. gone: it has been deleted.
    idle_health, idle_rise, idle_fall: the counter of a server without a health check, which commands move all the same (spec §5.4).
    held_weight: the effective weight of before, where it was changed in maintenance: 2.6 shows it until that ends; else -1.
    srv_record: the name of the SRV records that give it name, port and weight; "" for none.
    moved: what commands have changed of what the file says.
    revision: tells an added server from those that were deleted before it came; HAProxy 3's `srid`.
    warmth: how far a slowstart is, in sixteenths of the weight; 16 when there is none (spec §1.9).
    """

    name: str
    proxy: int
    sid: int
    address: str
    port: int
    fqdn: str
    op: Op
    admin: Admin
    iweight: int
    uweight: int
    backup: bool
    health: CheckState | None
    agent: CheckState | None
    changed_ms: int
    init_state: str = ""
    tracks: int = -1
    trackers: tuple[int, ...] = ()
    slowstart_ms: int = 0
    maxconn: int = 0
    maxqueue: int = 0
    cookie: str = ""
    forced_id: bool = False
    ssl: bool = False
    check_addr: str = ""
    check_port: int = 0
    agent_addr: str = ""
    agent_port: int = 0
    mapped_ports: bool = False
    ssl_ready: bool = False
    ssl_refused: bool = False
    pins: Pins = NO_PINS
    watch: Watch | None = None
    needed: bool = False
    dynamic: bool = False
    gone: bool = False
    down_ms: int = 0
    downs: int = 0
    idle_health: int = 2
    idle_rise: int = 2
    idle_fall: int = 3
    warmth: int = 16
    held_weight: int = -1
    revision: int = 0
    srv_record: str = ""
    moved: Moved = Moved(0)

    @property
    def idle_full(self) -> int:
        """The top of the counter of a server without a health check."""
        return self.idle_rise + self.idle_fall - 1


class ProxyState(msgspec.Struct):
    """One proxy that has servers or is shown by `show stat`; proxies stand in configuration order.

    id: HAProxy's iid as shown. first, count: range of the fleet's servers that are its own, as long as no `members` say
    otherwise. active, backup_active: usable
    servers of each kind (spec §8.3); active_weight, backup_weight: the sums of their effective weights.
    static: the balance algorithm takes weights 0% and 100% only. front_paused, front_stopped: what commands made of it.
    front_limit: `maxconn` of its frontend, None where HAProxy would compute one; fullconn: of its backend, 0 likewise.
    """

    name: str
    kind: str
    id: int
    mode: str
    balance: str
    first: int
    count: int
    log_health_checks: bool
    disabled: bool
    static: bool
    allbackups: bool = False
    forced_id: bool = False
    cookie: str = ""
    active: int = 0
    backup_active: int = 0
    active_weight: int = 0
    backup_weight: int = 0
    changed_ms: int = 0
    down_ms: int = 0
    downs: int = 0
    front_paused: bool = False
    front_stopped: bool = False
    members: list[int] | None = None
    front_limit: int | None = None
    fullconn: int = 0

    @property
    def own(self) -> Sequence[int]:
        """Indices of its servers, in the order in which they are shown."""
        return range(self.first, self.first + self.count) if self.members is None else self.members

    @property
    def has_backend(self) -> bool:
        return self.kind in ("backend", "listen")

    @property
    def has_frontend(self) -> bool:
        return self.kind in ("frontend", "listen")
