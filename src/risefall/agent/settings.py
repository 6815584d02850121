"""What agent.toml may say: every table, key, range and default, as structs that cannot be changed.

A key's struct field bears the unit (`every_ms`); in the file it is the bare word, and a time there is a text such as
"5s" or a number of milliseconds, as in haproxy.cfg. Each range stands beside its type, with the next step that an
operator is told when a value lies outside; `load.py` reads them from here and knows no key by itself.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, field

TIME = {"unit": "ms"}
"""Marks a number that the file may write as a time with a unit."""
DAY_MS = 86_400_000

Pace = Annotated[int, Meta(ge=50, le=DAY_MS, extra=TIME, description="write 50ms to 24h; 1s suits most signals")]
Limit = Annotated[int, Meta(ge=10, le=600_000, extra=TIME, description="write 10ms to 10m, such as 2s")]
Span = Annotated[int, Meta(ge=0, le=30 * DAY_MS, extra=TIME, description="write 0 to 30d, such as 30s; 0 is none")]
Percent = Annotated[float, Meta(ge=0, le=100, description="write a number from 0 to 100")]
Word = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}\Z", description="1 to 64 letters, digits and any of _ . : -, no blanks")
]
Text = Annotated[
    str,
    Meta(pattern=r"^[^\r\n\x00]{0,200}\Z", description="one line of up to 200 characters: HAProxy shows it after #"),
]
Path = Annotated[str, Meta(pattern=r"^/[^\x00]*\Z", description="write the whole path, from /")]
Number = Annotated[int, Meta(ge=1, le=1_000_000, description="write a whole number from 1 to 1000000")]
Port = Annotated[int, Meta(ge=1, le=65535, description="write a port from 1 to 65535")]
Url = Annotated[
    str, Meta(pattern=r"^https?://[^\s\x00]+\Z", description="write a URL such as http://127.0.0.1:8080/status")
]
Point = tuple[float, Annotated[float, Meta(ge=0, le=100_000, description="a weight is 0 to 100 (per cent)")]]
Curve = tuple[Point, ...]


class Combine(StrEnum):
    """How the weights that signals ask for become one."""

    MIN = "min"
    PRODUCT = "product"
    MEAN = "mean"


class Missing(StrEnum):
    """What a signal that cannot be read does to the answer: makes it stale, or is left out."""

    STALE = "stale"
    IGNORE = "ignore"


class Scope(StrEnum):
    """Whose figures: this process's cgroup where it has limits, the whole machine, or whichever is known."""

    AUTO = "auto"
    MACHINE = "machine"
    CGROUP = "cgroup"


class Say(StrEnum):
    """Words that a condition can put into the answer."""

    DOWN = "down"
    STOPPED = "stopped"
    FAIL = "fail"
    DRAIN = "drain"
    MAINT = "maint"


class Safe(StrEnum):
    """The answer when what is known is too old."""

    DOWN = "down"
    STOPPED = "stopped"
    FAIL = "fail"
    UP = "up"
    SILENCE = "silence"


class Op(StrEnum):
    """How a condition compares its signal; `failing` is true while the signal cannot be read."""

    LESS = "<"
    LESS_EQUAL = "<="
    MORE = ">"
    MORE_EQUAL = ">="
    EQUAL = "=="
    OTHER = "!="
    FAILING = "failing"


class Signal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every kind of signal has. curve: points (value, weight in per cent), rising in value; empty: no weight."""

    name: Word = ""
    every_ms: Pace = field(default=1000, name="every")
    timeout_ms: Limit = field(default=1000, name="timeout")
    curve: Curve = ()
    share: Annotated[float, Meta(gt=0, le=1000, description="its part in a mean; write a number above 0")] = 1.0
    missing: Missing = Missing.STALE


class Cpu(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cpu"):
    """Busy CPU in per cent of what this machine, or this cgroup's cpu.max, may use."""

    scope: Scope = Scope.AUTO


class Load(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="load"):
    """Load average per core."""

    minutes: Annotated[int, Meta(description="write 1, 5 or 15")] = 1


class Memory(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="memory"):
    """Used memory in per cent, page cache that can go not counted."""

    scope: Scope = Scope.AUTO


class PsiResource(StrEnum):
    CPU = "cpu"
    MEMORY = "memory"
    IO = "io"


class PsiWho(StrEnum):
    SOME = "some"
    FULL = "full"


class Psi(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="psi"):
    """Per cent of time in which tasks waited for a resource."""

    resource: PsiResource = PsiResource.CPU
    who: PsiWho = PsiWho.SOME
    seconds: Annotated[int, Meta(description="write 10, 60 or 300: the kernel has no other average")] = 10
    scope: Scope = Scope.AUTO


class DiskOf(StrEnum):
    SPACE = "space"
    INODES = "inodes"


class Disk(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="disk"):
    """Used space or inodes of a file system, in per cent of what a user without privileges may use."""

    path: Path = "/"
    of: DiskOf = DiskOf.SPACE


class Files(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fds"):
    """File descriptors in use, in per cent of the limit: of one process by its pid file, or of the whole system."""

    pid_file: Path | None = None


class Connections(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="connections"):
    """Established connections to a local port."""

    port: Port


class FileOf(StrEnum):
    PRESENT = "present"
    AGE = "age"
    NUMBER = "number"


class File(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="file"):
    """1 or 0 for a file that is there or not, its age in seconds, or the number at its beginning."""

    path: Path
    of: FileOf = FileOf.PRESENT


class CommandOf(StrEnum):
    EXIT = "exit"
    NUMBER = "number"


class Command(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="command"):
    """A program, run without a shell: its exit code, or the number that it prints first."""

    run: Annotated[
        tuple[str, ...], Meta(min_length=1, description='write the program and its words: ["/usr/bin/x", "-q"]')
    ]
    of: CommandOf = CommandOf.EXIT


class Json(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="json"):
    """A number of a JSON page, by a path such as `pool.0.idle`; true is 1 and false is 0."""

    url: Url
    path: Annotated[str, Meta(min_length=1, description="write the names and positions, with dots: pool.0.idle")]


class Prometheus(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="prometheus"):
    """A sample of a Prometheus page; of several samples that match, their sum."""

    url: Url
    metric: Word
    labels: dict[str, str] = {}


class Systemd(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="systemd"):
    """1 while a unit is active or reloading, else 0; its state is the reason."""

    unit: Annotated[str, Meta(pattern=r"^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*\Z", description="write nginx.service")]


class Check(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="check"):
    """A check of this machine's own service, by the engine: 1 while it is good by `rise` and `fall`, else 0."""

    check: Annotated[
        str,
        Meta(
            pattern=r"^[a-z-]+://[^\s\x00]+\Z", description="write what `risefall probe` takes: http://..., tcp://..."
        ),
    ]
    rise: Annotated[int, Meta(ge=1, le=1000, description="write 1 or more passes that make it good")] = 2
    fall: Annotated[int, Meta(ge=1, le=1000, description="write 1 or more failures that make it bad")] = 3


AnySignal = (
    Cpu | Load | Memory | Psi | Disk | Files | Connections | File | Command | Json | Prometheus | Systemd | Check
)


class MaxConn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`maxconn:` from a signal by a curve of whole connections, shared among the balancers that poll."""

    signal: Word
    curve: Curve
    divide: bool = True


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A word that is said while a signal compares so, for a time; and until it has not for another time."""

    say: Say
    signal: Word
    op: Op
    value: float | None = None
    for_ms: Span = field(default=0, name="for")
    clear_ms: Span = field(default=0, name="clear")
    reason: Text = ""


class Service(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that HAProxy asks for. send: the word by which it asks; by default the name of its table.

    HAProxy cuts `initial weight x per cent / 100` to a whole number: with `weight 1`, which is its default, everything
    below 100 % is 0, and the floor keeps a server in service only from `weight 100` on (tried with haproxy 2.6.12).
    """

    send: Word = ""
    default: bool = False
    listen: tuple[str, ...] = ()
    combine: Combine = Combine.MIN
    smooth_ms: Span = field(default=5000, name="smooth")
    hysteresis_pct: Percent = field(default=3.0, name="hysteresis")
    step_pct: Annotated[
        float, Meta(gt=0, le=10_000, description="per cent of weight a second; write a number above 0, such as 10")
    ] = field(default=20.0, name="step")
    floor_pct: Annotated[int, Meta(ge=1, le=100, description="load alone never takes a server out: write 1 to 100")] = (
        field(default=1, name="floor")
    )
    slow_start_ms: Span = field(default=0, name="slow_start")
    stale_ms: Limit = field(default=10_000, name="stale")
    stale_word: Safe = Safe.DOWN
    track_file: Path | None = None
    track_down: Annotated[int, Meta(ge=-254, le=254, description="write -254 to 254; -254 is FAULT for keepalived")] = 0
    """What stands in the file while the service is not good."""
    ready_polls: Annotated[
        int, Meta(ge=1, le=1000, description="servers of one balancer that poll this service under one name")
    ] = 1
    signal: tuple[AnySignal, ...] = ()
    maxconn: MaxConn | None = None
    state: tuple[Condition, ...] = ()


class Agent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all services share: where and for whom it answers, and how much anybody may take of it."""

    listen: tuple[str, ...] = ("127.0.0.1:9777",)
    allow: tuple[str, ...] = ()
    connections_per_source: Number = 64
    connections: Number = 4096
    send_ms: Annotated[int, Meta(ge=0, le=10_000, extra=TIME, description="write 0 to 10s, such as 200ms")] | None = (
        field(default=None, name="send_wait")
    )
    """How long what HAProxy sends is waited for; None: 200 ms on a port of several services, else not at all."""
    deadline_ms: Limit = field(default=2000, name="deadline")
    seen_ms: Pace = field(default=60_000, name="seen")
    quiet_drain: bool = False
    """A drained balancer hears the weight once and not at every poll, each of which HAProxy would log."""
    shutdown: Say = Say.DRAIN
    shutdown_ms: Span = field(default=0, name="shutdown_for")
    state_dir: Path | None = None
    socket: Path | None = None
    """Of `risefall ctl`; None: where it looks by itself, if that can be had."""
    http: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of agent.toml."""

    agent: Agent = Agent()
    service: dict[str, Service] = {}


HEADROOM = (
    Cpu(name="cpu", curve=((50, 100), (95, 5))),
    Psi(name="pressure", curve=((10, 100), (80, 5)), missing=Missing.IGNORE),
    Memory(name="memory", curve=((90, 100), (99, 5)), missing=Missing.IGNORE),
)
"""What is looked at where nothing is configured: CPU headroom, and signs that more work would not be done."""


def plain_settings(listen: tuple[str, ...] = ()) -> Settings:
    """The settings without a configuration: one service, whatever HAProxy sends."""
    agent = Agent(listen=listen) if listen else Agent()
    return Settings(agent=agent, service={"default": Service(send="default", default=True, signal=HEADROOM)})
