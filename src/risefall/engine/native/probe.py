"""One run of a check without an engine: bytes, errnos and times in, wants and a result out."""

from __future__ import annotations

from typing import Any

import msgspec

from risefall.engine._native import ffi, lib
from risefall.engine.native.calls import Endpoint, fill_address, read_address
from risefall.engine.native.checks import CheckSpec, Program, fill_check
from risefall.errors import NativeError
from risefall.state.exchange import AdminWord, WeightKind
from risefall.status import Status, Verdict

CONNECT, SEND, RECV, DONE = lib.RF_WANT_CONNECT, lib.RF_WANT_SEND, lib.RF_WANT_RECV, lib.RF_WANT_DONE
PROCESS = lib.RF_WANT_PROCESS
HOW_QUIET_ACK, HOW_TELL_ADDRESSES = lib.RF_HOW_QUIET_ACK, lib.RF_HOW_TELL_ADDRESSES
CLOSE_NONE, CLOSE_RST, CLOSE_FIN = lib.RF_CLOSE_NONE, lib.RF_CLOSE_RST, lib.RF_CLOSE_FIN
AT_SOCKET, AT_CONNECT, AT_STREAM = lib.RF_AT_SOCKET, lib.RF_AT_CONNECT, lib.RF_AT_STREAM


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
