"""The compiled module's face: programs, probes, the engine. Python owns, C computes.

Each pointer lives in one class with `close()` and `with`. cffi releases the GIL around every call. One thread commands
and drains; the engine's own thread steps. Source: native/risefall.h.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NewType, Self

import msgspec

from risefall.engine._native import ffi, lib
from risefall.engine.figures import FIGURES
from risefall.errors import NativeError
from risefall.state.exchange import AdminWord, CheckResult, WeightKind
from risefall.status import Status, Verdict

ABI = 1
DRAIN_MAX = 1024
DIRTY_MAX = 4096

Handle = NewType("Handle", int)
"""A check of one engine: generation << 32 | index."""

FAMILY = {4: lib.RF_INET, 6: lib.RF_INET6, 1: lib.RF_UNIX, 2: lib.RF_ABSTRACT}
"""`config.haproxy.model.Family` to native; the other families have to be resolved first."""

if lib.rf_abi() != ABI:
    raise ImportError(f"risefall: the compiled module has ABI {lib.rf_abi()}, this package wants {ABI}: build it again")


def has_regex() -> bool:
    """Whether this build has PCRE2."""
    return bool(lib.rf_features() & 1)


def refusal(call: str) -> NativeError:
    """The error behind a call that C refused."""
    number = lib.rf_last_errno()
    return NativeError(call, errno.errorcode.get(number, "refused"), ffi.string(lib.rf_last_error()).decode("latin-1"))


def now_ns() -> int:
    """The engine's clock: monotonic nanoseconds."""
    return int(lib.rf_now_ns())


class Endpoint(msgspec.Struct, frozen=True):
    """A resolved address. family: 4, 6, 1 (UNIX path) or 2 (abstract name); packed: network order or the name's bytes."""

    family: int
    packed: bytes
    port: int = 0
    scope: int = 0


class Foreign(msgspec.Struct, frozen=True):
    """A pointer of another compiled module; owner keeps alive what it points to. mark: see `Program.mark`."""

    address: int
    owner: Any
    mark: bytes = b""


def foreign(pointer: Any, ffi_of_owner: Any, mark: bytes = b"") -> Foreign:
    """A pointer of another module for this one."""
    return Foreign(int(ffi_of_owner.cast("uintptr_t", pointer)), pointer, mark)


def digest(*parts: object) -> bytes:
    """Sixteen bytes that are the same for the same values, in this run and the next."""
    try:
        encoded = msgspec.msgpack.encode(parts)
    except UnicodeEncodeError:  # a path that is no UTF-8
        encoded = repr(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=16).digest()


def socket_within(netns: int, family: int) -> int:
    """The descriptor of a socket in another namespace, or a negative errno. family: 4 or 6, as in Endpoint."""
    return int(lib.rf_socket_within(netns, family))


def use_tls(functions: int) -> None:
    """Takes the functions of module _tls, by their address. Raises NativeError when it is of another build."""
    if lib.rf_use_tls(ffi.cast("void *", functions)) != lib.RF_OK:
        raise refusal("TLS")


def read_address(address: Any) -> Endpoint:
    """An `rf_address` as an endpoint."""
    packed = bytes(ffi.buffer(address.addr, address.addr_len))
    return Endpoint(
        {lib.RF_INET: 4, lib.RF_INET6: 6}.get(address.family, address.family), packed, address.port, address.scope
    )


class Transport:
    """What the connections of checks go through; shared by all servers that say the same. See `rf_transport_spec`."""

    def __init__(
        self,
        layers: int,
        *,
        tls: Foreign | None = None,
        socks4: Endpoint | None = None,
        sni: str = "",
        alpn: bytes = b"",
        proxy_v2: bool = False,
    ) -> None:
        """tls: a context of module _tls. Raises NativeError."""
        spec = ffi.new("rf_transport_spec *")
        spec.layers = layers
        spec.proxy_v2 = proxy_v2
        spec.tls = ffi.NULL if tls is None else ffi.cast("void *", tls.address)
        if socks4 is not None:
            fill_address(spec.socks4, socks4)
        self.mark = digest(layers, tls.mark if tls else None, socks4, sni.encode("utf-8", "replace"), alpn, proxy_v2)
        kept_sni, kept_alpn = ffi.new("char[]", sni.encode("utf-8", "surrogateescape")), ffi.new("uint8_t[]", alpn)
        spec.sni = kept_sni if sni else ffi.NULL
        spec.alpn, spec.alpn_len = kept_alpn, len(alpn)
        pointer = lib.rf_transport_new(spec)
        if pointer == ffi.NULL:
            raise refusal("transport")
        self.pointer = ffi.gc(pointer, lib.rf_transport_drop)  # a last net; checks and probes hold it too


class Process:
    """What an external-check starts. See `rf_process_new`."""

    def __init__(self, path: bytes, argv: Sequence[bytes], env: Sequence[bytes]) -> None:
        """Raises NativeError."""
        self.mark = digest(path, argv, env)
        kept = [[ffi.new("char[]", word) for word in words] for words in (argv, env)]
        arrays = [ffi.new("char *[]", words) if words else ffi.NULL for words in kept]
        pointer = lib.rf_process_new(path, arrays[0], len(argv), arrays[1], len(env))
        if pointer == ffi.NULL:
            raise refusal("external-check")
        self.pointer = ffi.gc(pointer, lib.rf_process_drop)


class CheckSpec(msgspec.Struct, frozen=True):
    """All that C needs to run one check; field by field `rf_check`. Times are ms, first_ns is on the engine's clock."""

    to: Endpoint
    inter_ms: int
    rise: int
    fall: int
    health: int
    tag: int
    first_ns: int
    fastinter_ms: int = 0
    downinter_ms: int = 0
    connect_ms: int = 0
    check_ms: int = 0
    spread_pct: int = 0
    group: int = 0
    weight: int = 1
    initial_weight: int = 1
    enabled: bool = True
    paused: bool = False
    stopped: bool = False
    late_check_timeout: bool = False
    static_weights: bool = False
    source: Endpoint | None = None
    source_port_max: int = 0
    interface: str = ""
    netns: int = 0
    site: bytes = b""
    transport: Transport | None = None
    process: Process | None = None
    outside: bool = False
    """Its runs are made elsewhere: an event asks for each (`Event.run`), a report brings its end."""


def fill_address(target: Any, endpoint: Endpoint) -> None:
    """Writes an endpoint into an `rf_address`."""
    target.family = FAMILY[endpoint.family]
    target.addr_len = len(endpoint.packed)
    target.port = endpoint.port
    target.scope = endpoint.scope
    ffi.memmove(target.addr, endpoint.packed, len(endpoint.packed))


def fill_check(out: Any, spec: CheckSpec) -> None:
    """Writes a spec into an `rf_check`."""
    ffi.memmove(out, bytes(ffi.sizeof("rf_check")), ffi.sizeof("rf_check"))
    fill_address(out.to, spec.to)
    if spec.source is not None:
        fill_address(getattr(out, "from"), spec.source)
        out.from_port_max = spec.source_port_max
    out.netns = spec.netns
    interface = spec.interface.encode()[:15]
    ffi.memmove(out.interface, interface, len(interface))
    for name in (
        "inter_ms", "fastinter_ms", "downinter_ms", "connect_ms", "check_ms", "rise", "fall", "health", "spread_pct",
        "group", "weight", "initial_weight", "enabled", "paused", "stopped", "late_check_timeout", "static_weights",
        "outside", "first_ns", "tag",
    ):  # fmt: skip
        setattr(out, name, getattr(spec, name))
    out.transport = ffi.NULL if spec.transport is None else spec.transport.pointer
    out.process = ffi.NULL if spec.process is None else spec.process.pointer


class Program:
    """A compiled check program, shared by every check with the same rules.

    mark: the same for programs that do the same, so that a reload can tell what has changed.
    """

    def __init__(self, rules: Any, ops: Any, blob: bytes, flags: int, bufsize: int) -> None:
        """`rules` and `ops` are cffi arrays of `rf_rule` and `rf_op`. Raises NativeError for a bad regex."""
        self._pointer = lib.rf_program_new(rules, len(rules), ops, len(ops), blob, len(blob), flags, bufsize)
        if self._pointer == ffi.NULL:
            raise refusal("check program")
        self.mark = digest(bytes(ffi.buffer(rules)), bytes(ffi.buffer(ops)), blob, flags, bufsize)
        self.pointer = ffi.gc(self._pointer, lib.rf_program_drop)  # a last net; engines and probes hold it too


class Want(msgspec.Struct, frozen=True):
    """What a probe wants next; see `rf_want`. out: bytes to send; room: most bytes to receive."""

    kind: int
    close: int
    how: int
    connection: int
    port: int
    deadline_ns: int
    to: Endpoint | None = None
    out: bytes = b""
    room: int = 0


CONNECT, SEND, RECV, DONE = lib.RF_WANT_CONNECT, lib.RF_WANT_SEND, lib.RF_WANT_RECV, lib.RF_WANT_DONE
PROCESS = lib.RF_WANT_PROCESS
HOW_QUIET_ACK, HOW_TELL_ADDRESSES = lib.RF_HOW_QUIET_ACK, lib.RF_HOW_TELL_ADDRESSES
CLOSE_NONE, CLOSE_RST, CLOSE_FIN = lib.RF_CLOSE_NONE, lib.RF_CLOSE_RST, lib.RF_CLOSE_FIN
AT_SOCKET, AT_CONNECT, AT_STREAM = lib.RF_AT_SOCKET, lib.RF_AT_CONNECT, lib.RF_AT_STREAM


class ProbeResult(msgspec.Struct, frozen=True):
    """How one run ended; see `rf_result`."""

    status: Status
    verdict: Verdict
    code: int
    duration_us: int
    text: bytes
    self_blame: bool
    error: int
    admin: AdminWord
    weight_kind: WeightKind
    weight: int
    maxconn: int | None


def read_result(result: Any) -> ProbeResult:
    """A copy of an `rf_result`."""
    return ProbeResult(
        status=Status(result.status),
        verdict=Verdict(result.verdict),
        code=result.code,
        duration_us=result.duration_us,
        text=bytes(ffi.buffer(result.text, result.text_len)),
        self_blame=bool(result.self_blame),
        error=result.error,
        admin=AdminWord(result.admin),
        weight_kind=WeightKind(result.weight_kind),
        weight=result.weight,
        maxconn=result.maxconn if result.has_maxconn else None,
    )


class Probe:
    """One run of a program after another, without an engine: bytes, errnos and times in, wants and a result out."""

    def __init__(self, program: Program, spec: CheckSpec) -> None:
        check = ffi.new("rf_check *")
        fill_check(check, spec)
        pointer = lib.rf_probe_new(program.pointer, check, spec.site, len(spec.site))
        if pointer == ffi.NULL:
            raise NativeError("probe", "ENOMEM")
        self._pointer = ffi.gc(pointer, lib.rf_probe_free)
        self._want = ffi.new("rf_want *")
        self._result = ffi.new("rf_result *")

    def facts(
        self,
        *,
        last_status: Status = Status.INI,
        last_code: int = 0,
        state_text: str = "",
        weight: int = 1,
        total_weight: int = 1,
        stopped: bool = False,
    ) -> None:
        """What the next run may read of its server; see `rf_probe_facts`."""
        text = state_text.encode()
        lib.rf_probe_facts(self._pointer, last_status, last_code, text, weight, total_weight, stopped)

    def start(self, now_ns: int) -> None:
        """Begins a run."""
        lib.rf_probe_start(self._pointer, now_ns)

    def want(self) -> Want:
        """What it wants next, and until when it waits for it."""
        want = self._want
        lib.rf_probe_want(self._pointer, want)
        return Want(
            kind=want.kind,
            close=want.close,
            how=want.how,
            connection=want.connection,
            port=want.port,
            deadline_ns=want.deadline_ns,
            to=None if want.to == ffi.NULL else read_address(want.to),
            out=bytes(ffi.buffer(want.out, want.out_len)) if want.out_len else b"",
            room=want.in_max if want.kind == RECV else 0,
        )

    def addresses(self, local: Endpoint, remote: Endpoint) -> None:
        """Both ends of the connection, where the want asks for them (HOW_TELL_ADDRESSES)."""
        ends = ffi.new("rf_address[2]")
        fill_address(ends[0], local)
        fill_address(ends[1], remote)
        lib.rf_probe_addresses(self._pointer, ends[0:1], ends[1:2])

    def connected(self, now_ns: int) -> None:
        """The connection it wanted is there."""
        lib.rf_probe_connected(self._pointer, now_ns)

    def sent(self, count: int, now_ns: int) -> None:
        """So many of the wanted bytes are sent."""
        lib.rf_probe_sent(self._pointer, count, now_ns)

    def received(self, data: bytes, now_ns: int) -> None:
        """Bytes came, at most as many as there was room for; none: the peer ended its stream."""
        lib.rf_probe_want(self._pointer, self._want)
        if self._want.kind != RECV or len(data) > self._want.in_max:
            raise ValueError(f"the probe has no room for {len(data)} bytes now")
        if data:
            ffi.memmove(getattr(self._want, "in"), data, len(data))
        lib.rf_probe_received(self._pointer, len(data), now_ns)

    def failed(self, where: int, error: int, now_ns: int) -> None:
        """An errno: of making the socket, of connect() itself, or of the connection later (AT_...)."""
        lib.rf_probe_failed(self._pointer, where, error, now_ns)

    def tls_begins(self) -> None:
        """A driver that does TLS itself begins the handshake on its connected socket."""
        lib.rf_probe_tls_begins(self._pointer)

    def tls_failed(self, text: str, now_ns: int) -> None:
        """A driver that does TLS itself could not; text as HAProxy words it."""
        lib.rf_probe_tls_failed(self._pointer, text.encode(), now_ns)

    def socks_failed(self, text: str, now_ns: int) -> None:
        """A driver that speaks SOCKS4 itself was not let through; text as HAProxy words it."""
        lib.rf_probe_socks_failed(self._pointer, text.encode(), now_ns)

    def exited(self, code: int, now_ns: int) -> None:
        """The process ended: exit code 0 to 255, or -1 for a signal."""
        lib.rf_probe_exited(self._pointer, code, now_ns)

    def tls(self) -> Any:
        """The TLS state of the open connection for module _tls, NULL where there is none."""
        return lib.rf_probe_tls(self._pointer)

    def time(self, now_ns: int) -> None:
        """So late is it; nothing happens before the deadline."""
        lib.rf_probe_time(self._pointer, now_ns)

    def copy_result(self, out: Any) -> None:
        """The verdict as an `rf_result`, once it wants DONE."""
        lib.rf_probe_result(self._pointer, out)

    def result(self) -> ProbeResult:
        """The verdict, once it wants DONE."""
        lib.rf_probe_result(self._pointer, self._result)
        return read_result(self._result)


class Event(msgspec.Struct, frozen=True, gc=False):
    """News of one check; `tag` is the caller's own word for it. run: not 0 where an outside check is due (no news then)."""

    check: Handle
    tag: int
    late_us: int
    result: CheckResult
    run: int = 0


class Record(msgspec.Struct, frozen=True, gc=False):
    """A check's last result as it stands; see `rf_record`. done_ns is 0 before the first."""

    check: Handle
    tag: int
    epoch: int
    health: int
    fails: int
    runs: int
    in_progress: bool
    done_ns: int
    status: Status
    verdict: Verdict
    code: int
    duration_ms: int
    text: bytes
    admin: AdminWord = AdminWord.NONE
    weight_kind: WeightKind = WeightKind.NONE
    weight: int = 0
    maxconn: int | None = None


class Change(msgspec.Struct, frozen=True):
    """An order to one check; None leaves a field alone. See `rf_order`."""

    epoch: int = 0
    health: int | None = None
    paused: bool | None = None
    enabled: bool | None = None
    stopped: bool | None = None
    state_text: str | None = None
    weight: int | None = None
    touched: bool = False
    now: bool = False
    to: Endpoint | None = None
    keep_pace: bool = False


class Engine:
    """One worker: a thread in C with its own checks, slots and sockets."""

    def __init__(
        self,
        *,
        checks_max: int,
        slots: int,
        bufsize: int = 16384,
        groups: int = 0,
        gather_us: int = 1500,
        seed: int = 0,
        ring_len: int = 16384,
        queue_len: int = 16384,
    ) -> None:
        """Raises NativeError when the system refuses (descriptors, memory)."""
        options = ffi.new(
            "rf_options *",
            {
                "slots": slots,
                "checks_max": checks_max,
                "ring_len": ring_len,
                "queue_len": queue_len,
                "bufsize": bufsize,
                "groups": groups,
                "gather_us": gather_us,
                "seed": seed or int.from_bytes(os.urandom(7)),
            },
        )
        pointer = lib.rf_open(options)
        if pointer == ffi.NULL:
            raise refusal("engine")
        self._pointer = pointer
        self._events = ffi.new("rf_event[]", DRAIN_MAX)
        self._reading = ffi.new("rf_statistics *")
        self._dirty = ffi.new("uint64_t[]", DIRTY_MAX)
        self._check = ffi.new("rf_check *")
        self._handle = ffi.new("uint64_t *")
        self._order = ffi.new("rf_order *")
        self.slots = slots
        self.queue_len = queue_len

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the thread and closes every socket; idempotent."""
        if self._pointer is not None:
            lib.rf_close(self._pointer)
            self._pointer = None

    def start(self, cpu: int = -1) -> None:
        """Starts the thread, on one processor if `cpu` is not -1."""
        if lib.rf_start(self._pointer, cpu) != lib.RF_OK:
            raise refusal("engine thread")

    def stop(self) -> None:
        """Ends the thread; checks under way are left where they stand."""
        if lib.rf_stop(self._pointer) != lib.RF_OK:
            raise refusal("engine thread")

    def step(self, now_ns: int) -> int:
        """One turn without the thread; when the next is wanted at the latest."""
        return int(lib.rf_step(self._pointer, now_ns))

    def inject(self, call: int, error: int, times: int) -> None:
        """Test seam: the next calls of a kind fail."""
        lib.rf_inject(self._pointer, call, error, times)

    def add(self, program: Program, spec: CheckSpec) -> Handle | None:
        """Adds a check; None when the queue is full just now. Raises NativeError when it cannot be."""
        fill_check(self._check, spec)
        result = lib.rf_add(self._pointer, program.pointer, self._check, spec.site, len(spec.site), self._handle)
        if result == lib.RF_OK:
            return Handle(self._handle[0])
        if result == lib.RF_FULL and lib.rf_last_errno() == 0 and self.running:
            return None
        raise refusal("add check")

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return bool(lib.rf_running(self._pointer))

    def remove(self, check: Handle) -> bool:
        """Takes a check away; false when the queue is full just now."""
        return bool(lib.rf_remove(self._pointer, check) == lib.RF_OK)

    def command(self, check: Handle, change: Change) -> bool:
        """Orders a change; false when the queue is full just now. A check that is gone is no error."""
        order = self._order
        order.check = check
        order.epoch = change.epoch
        order.set = lib.RF_SET_TOUCHED if change.touched else 0
        for name, flag in SETTERS:
            value = getattr(change, name)
            if value is not None:
                setattr(order, name, value)
                order.set |= flag
        if change.state_text is not None:
            text = change.state_text.encode()[: lib.RF_STATE_TEXT_MAX]
            ffi.memmove(order.state_text, text, len(text))
            order.state_text_len = len(text)
            order.set |= lib.RF_SET_STATE_TEXT
        if change.now:
            order.set |= lib.RF_SET_NOW
        if change.to is not None:
            fill_address(order.to, change.to)
            order.set |= lib.RF_SET_TARGET | (lib.RF_SET_KEEP_PACE if change.keep_pace else 0)
        return bool(lib.rf_command(self._pointer, order) != lib.RF_FULL)

    def set_program(self, check: Handle, program: Program) -> bool:
        """Gives a check another program, such as an agent's other text; false when the queue is full just now."""
        return bool(lib.rf_set_program(self._pointer, check, program.pointer) != lib.RF_FULL)

    def set_site(self, check: Handle, site: bytes, process: Process | None) -> bool:
        """Gives a check other texts of its server, and another process where it has one; false when the queue is full just now."""
        pointer = ffi.NULL if process is None else process.pointer
        return bool(lib.rf_set_site(self._pointer, check, site, len(site), pointer) != lib.RF_FULL)

    def group_weight(self, group: int, total_weight: int) -> bool:
        """Tells a group's total weight; false when the queue is full just now."""
        return bool(lib.rf_group_weight(self._pointer, group, total_weight) == lib.RF_OK)

    def observed(self, check: Handle, ceiling: int, text: bytes, *, again: bool = False) -> bool:
        """What traffic did to a check; see `rf_observed`. False when the queue is full just now."""
        return bool(lib.rf_observed(self._pointer, check, ceiling, again, text, len(text)) == lib.RF_OK)

    def report(self, check: Handle, run: int, probe: Probe) -> bool:
        """Brings the end of an outside check's run; false when the queue is full just now."""
        result = ffi.new("rf_result *")
        probe.copy_result(result)
        return bool(lib.rf_report(self._pointer, check, run, result) == lib.RF_OK)

    def fileno(self) -> int:
        """Readable while there is something to drain."""
        return int(lib.rf_event_fd(self._pointer))

    def clear(self) -> None:
        """Makes `fileno` unreadable until there is news; before draining."""
        lib.rf_event_clear(self._pointer)

    def nudge(self) -> None:
        """Wakes the thread for one turn: `turns` rises soon, or the thread does not move."""
        lib.rf_nudge(self._pointer)

    @property
    def turns(self) -> int:
        """Turns of the thread since the start."""
        return int(self._counters().polls)

    @property
    def self_blamed(self) -> int:
        """Checks since the start that could not be made for a want of our own."""
        return int(self._counters().self_blamed)

    def rest(self) -> None:
        """Gives back memory that a burst of commands has filled; now and then."""
        lib.rf_rest(self._pointer)

    def drain(self) -> list[Event]:
        """At most DRAIN_MAX events, oldest first."""
        count = lib.rf_drain(self._pointer, self._events, DRAIN_MAX)
        return [read_event(self._events[i]) for i in range(count)]

    def drain_dirty(self) -> list[Handle]:
        """Checks whose event was dropped because the ring was full: read their records."""
        count = lib.rf_drain_dirty(self._pointer, self._dirty, DIRTY_MAX)
        return [Handle(self._dirty[i]) for i in range(count)]

    def snapshot(self, checks: Sequence[Handle]) -> list[Record | None]:
        """The records of many checks, None for those that are gone."""
        if not checks:
            return []
        handles = ffi.new("uint64_t[]", list(checks))
        records = ffi.new("rf_record[]", len(checks))
        lib.rf_snapshot(self._pointer, handles, len(checks), records)
        return [read_record(records[i]) for i in range(len(checks))]

    def figures(self, checks: Sequence[Handle]) -> list[tuple[Any, ...]]:
        """What the records of many checks show, without an object each: values in the order of `figures.FIELDS`."""
        handles = ffi.new("uint64_t[]", list(checks))
        records = ffi.new("rf_record[]", len(checks))
        lib.rf_snapshot(self._pointer, handles, len(checks), records)
        return list(FIGURES.iter_unpack(ffi.buffer(records)))

    def statistics(self) -> Statistics:
        """Counters and histograms since the start: hundreds of objects, not for what is asked every second."""
        return read_statistics(self._counters())

    def _counters(self) -> Any:
        """An `rf_statistics` as of now."""
        lib.rf_statistics_read(self._pointer, self._reading)
        return self._reading


SETTERS = (
    ("health", lib.RF_SET_HEALTH),
    ("paused", lib.RF_SET_PAUSED),
    ("enabled", lib.RF_SET_ENABLED),
    ("stopped", lib.RF_SET_STOPPED),
    ("weight", lib.RF_SET_WEIGHT),
)


def read_event(raw: Any) -> Event:
    """A copy of an `rf_event`."""
    result = raw.result
    flags = raw.flags
    return Event(
        check=Handle(raw.check),
        tag=raw.tag,
        late_us=raw.late_us_capped,
        result=CheckResult(
            epoch=raw.epoch,
            status=Status(result.status),
            verdict=Verdict(result.verdict),
            code=result.code,
            health=raw.health,
            duration_ms=result.duration_ms,
            text=bytes(ffi.buffer(result.text, result.text_len)),
            status_changed=bool(flags & lib.RF_EV_STATUS),
            counter_moved=bool(flags & lib.RF_EV_COUNTER),
            touched=bool(flags & lib.RF_EV_TOUCHED),
            admin=AdminWord(result.admin),
            weight_kind=WeightKind(result.weight_kind),
            weight=result.weight,
            maxconn=result.maxconn if result.has_maxconn else None,
        ),
        run=raw.run if flags & lib.RF_EV_RUN else 0,
    )


def read_record(raw: Any) -> Record | None:
    """A copy of an `rf_record`; None for a check that is gone."""
    if raw.check == 0:
        return None
    result = raw.result
    return Record(
        check=Handle(raw.check),
        tag=raw.tag,
        epoch=raw.epoch,
        health=raw.health,
        fails=raw.fails,
        runs=raw.runs,
        in_progress=bool(raw.in_progress),
        done_ns=raw.done_ns,
        status=Status(result.status),
        verdict=Verdict(result.verdict),
        code=result.code,
        duration_ms=result.duration_ms,
        text=bytes(ffi.buffer(result.text, result.text_len)),
        admin=AdminWord(result.admin),
        weight_kind=WeightKind(result.weight_kind),
        weight=result.weight,
        maxconn=result.maxconn if result.has_maxconn else None,
    )


class Histogram(msgspec.Struct, frozen=True):
    """Log-linear counts of microseconds; `edges_us[i]` is the upper edge of `counts[i]`."""

    count: int
    sum_us: int
    max_us: int
    counts: list[int]

    def percentile_us(self, percent: float) -> int:
        """Upper edge of the bucket in which the percentile lies; 0 when nothing was counted."""
        if not self.count:
            return 0
        left = self.count * percent / 100
        for bucket, count in enumerate(self.counts):
            left -= count
            if count and left <= 0:
                return min(int(lib.rf_bucket_us(bucket)), self.max_us)
        return self.max_us

    def since(self, before: Histogram) -> Histogram:
        """What came after an earlier reading; max_us is exact when it is a new one, else the edge of its bucket."""
        counts = [now - then for now, then in zip(self.counts, before.counts, strict=True)]
        span = Histogram(self.count - before.count, self.sum_us - before.sum_us, self.max_us, counts)
        if self.max_us > before.max_us:
            return span
        return msgspec.structs.replace(span, max_us=span.percentile_us(100))


class Statistics(msgspec.Struct, frozen=True):
    """`rf_statistics`; self_errnos are the errno names of wants of our own."""

    started: int
    finished: int
    passed: int
    failed: int
    neutral: int
    self_blamed: int
    timed_out: int
    evicted: int
    events: int
    events_dropped: int
    commands: int
    wakeups: int
    polls: int
    checks: int
    slots: int
    in_flight: int
    suspects_in_flight: int
    waiting: int
    sockets_kept: int
    self_errnos: tuple[str, ...]
    late: Histogram
    late_suspect: Histogram
    duration: Histogram


def read_histogram(raw: Any) -> Histogram:
    """A copy of an `rf_histogram`."""
    return Histogram(raw.count, raw.sum_us, raw.max_us, list(raw.buckets))


def read_statistics(raw: Any) -> Statistics:
    """A copy of an `rf_statistics`."""
    numbers = [bit + 64 * word for word in range(8) for bit in range(64) if raw.self_errno[word] >> bit & 1]
    plain = [
        field
        for field in Statistics.__struct_fields__
        if field not in ("self_errnos", "late", "late_suspect", "duration")
    ]
    return Statistics(
        **{field: getattr(raw, field) for field in plain},
        self_errnos=tuple(errno.errorcode.get(number, str(number)) for number in numbers),
        late=read_histogram(raw.late),
        late_suspect=read_histogram(raw.late_suspect),
        duration=read_histogram(raw.duration),
    )
