"""Runs one probe: finds the address, puts the wires together, and keeps what was seen for the words afterwards."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import msgspec
import trio

from risefall.cli.probe_targets import GRPC_SCHEMES, Target, Way, split_host_port
from risefall.engine import tls as native_tls
from risefall.engine._native import lib
from risefall.engine.certificate import Certificate
from risefall.engine.drive import CallError, Driver, SocketWire, Step, StepKind, TlsError, Transcript, Wire
from risefall.engine.grpc import Health, HealthCall
from risefall.engine.h2wire import H2Wire
from risefall.engine.layout import alpn_wire
from risefall.engine.native import CONNECT, CheckSpec, Endpoint, Probe, ProbeResult, Program, Transport, Want
from risefall.engine.tlswire import SYSTEM_CA, TlsFacts, TlsOptions, TlsWire
from risefall.errors import StartError

RESOLVE_S = 5.0
KEPT_BYTES = 65536


class Run(msgspec.Struct):
    """What one run left: the address, how long it took to find, each step, and what TLS showed."""

    to: Endpoint
    resolve_ms: float
    steps: list[Step] = []
    facts: TlsFacts | None = None
    failure: TlsError | None = None
    distrusted: Certificate | None = None
    """The certificate that was not trusted, from a second look without verify."""

    def bytes_of(self, kind: StepKind) -> bytes:
        """All bytes of one direction, as many as are kept."""
        return b"".join(step.data for step in self.steps if step.kind is kind)[:KEPT_BYTES]


async def find_address(host: str, port: int) -> Endpoint:
    """The first address of a host. Raises StartError when it has none."""
    if host.startswith("/"):
        return Endpoint(1, host.encode("utf-8", "surrogateescape"))
    try:
        with trio.fail_after(RESOLVE_S):
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except trio.TooSlowError as error:
        raise StartError(f"'{host}' did not resolve within {RESOLVE_S:.0f} s: is the name server reachable?") from error
    except UnicodeError as error:
        raise StartError(f"'{host}' is no host name: {error}") from error
    except OSError as error:
        raise StartError(f"'{host}' does not resolve: {error.strerror}") from error
    family, _, _, _, address = found[0]
    scope = int(address[3]) if len(address) > 3 else 0
    packed = socket.inet_pton(family, str(address[0]).partition("%")[0])
    return Endpoint(4 if family == socket.AF_INET else 6, packed, port, scope)


async def locate(target: Target) -> Run:
    """The beginning of a run. Raises StartError."""
    started = time.monotonic()
    to = await find_address(target.host, target.port)
    return Run(to, (time.monotonic() - started) * 1000, [])


def address_text(to: Endpoint) -> str:
    """An endpoint's address for a person."""
    if to.family in (4, 6):
        return socket.inet_ntop(socket.AF_INET if to.family == 4 else socket.AF_INET6, to.packed)
    return to.packed.decode("utf-8", "replace")


def tls_options(target: Target, way: Way) -> TlsOptions:
    """TLS as the options say it; gRPC asks for h2 by itself."""
    alpn = way.alpn or (("h2",) if target.scheme in GRPC_SCHEMES or way.h2 else ())
    return TlsOptions(sni=way.server_name(target), alpn=alpn, ca_file=way.ca_file, verify=way.verify)


# --- the way there ------------------------------------------------------------------------------------------


async def layers(target: Target, way: Way) -> Transport | None:
    """PROXY header and SOCKS4, and TLS where it has to come behind them: then it is native. Raises NotChecked, StartError."""
    if not way.layered:
        return None
    bits = (lib.RF_LAYER_PROXY_V1 if way.proxy else 0) | (lib.RF_LAYER_SOCKS4 if way.socks4 else 0)
    proxy = await find_address(*split_host_port(way.socks4, "--socks4")) if way.socks4 else None
    context = None
    if target.tls:
        bits |= lib.RF_LAYER_TLS
        context = native_tls.new_context(
            native_tls.TlsSettings(ca_file=way.ca_file or (SYSTEM_CA if way.verify else ""), verify=way.verify)
        )
    return Transport(
        bits,
        tls=context,
        socks4=proxy,
        sni=way.server_name(target) if target.tls else "",
        alpn=alpn_wire(",".join(way.alpn)),
        proxy_v2=way.proxy == "v2",
    )


def keep(run: Run, tell: Callable[[Step], None]) -> Transcript:
    """A transcript that is told and kept."""

    def hear(step: Step) -> None:
        run.steps.append(step)
        tell(step)

    return Transcript(hear)


async def run_probe(
    program: Program,
    target: Target,
    way: Way,
    *,
    inter_ms: int,
    check_ms: int,
    tell: Callable[[Step], None],
) -> tuple[ProbeResult, Run]:
    """One run of a check program. Raises StartError and NotChecked."""
    run = await locate(target)
    transport = await layers(target, way)
    spec = CheckSpec(
        run.to, inter_ms=inter_ms, rise=1, fall=1, health=1, tag=0, first_ns=0, check_ms=check_ms, transport=transport
    )
    probe = Probe(program, spec)
    transcript = keep(run, tell)
    wire: Wire = SocketWire(run.to)
    secure = None
    if target.tls and transport is None:
        secure = wire = TlsWire(wire, tls_options(target, way), transcript, begins=probe.tls_begins)
    if way.h2 or secure is not None:
        chosen = secure
        wire = H2Wire(wire, wanted=lambda: way.h2 or (chosen is not None and alpn_of(chosen) == "h2"))
    result = await Driver(probe, wire, transcript).run()
    await look(run, secure, target, way, inter_ms)
    return result, run


async def run_grpc(
    service: str, target: Target, way: Way, *, limit_ms: int, tell: Callable[[Step], None]
) -> tuple[Health, Run]:
    """One gRPC health call. Raises StartError."""
    run = await locate(target)
    transcript = keep(run, tell)
    wire: Wire = SocketWire(run.to)
    secure = None
    if target.tls:
        secure = wire = TlsWire(wire, tls_options(target, way), transcript)
    health = await HealthCall(wire, transcript).run(
        service,
        port=target.port,
        authority=target.authority,
        scheme="https" if target.tls else "http",
        deadline=trio.current_time() + limit_ms / 1000,
    )
    await look(run, secure, target, way, limit_ms)
    return health, run


def alpn_of(wire: TlsWire) -> str:
    """What ALPN chose, nothing where it did not."""
    return wire.facts.alpn if wire.facts is not None else ""


# --- the certificate -----------------------------------------------------------------------------------------


async def look(run: Run, secure: TlsWire | None, target: Target, way: Way, limit_ms: int) -> None:
    """Keeps what TLS showed. A certificate that was not trusted is fetched once more, to show what is wrong with it."""
    if secure is None:
        return
    run.facts, run.failure = secure.facts, secure.failure
    if run.failure is None or run.failure.reason != "VERIFY":
        return
    options = msgspec.structs.replace(tls_options(target, way), verify=False)
    wire = TlsWire(SocketWire(run.to), options)
    try:
        with trio.move_on_after(limit_ms / 1000):
            await wire.connect(Want(CONNECT, 0, 0, 1, target.port, 0))
    except (OSError, CallError, TlsError):
        return
    finally:
        wire.end(lib.RF_CLOSE_RST)
    run.distrusted = wire.facts.certificate if wire.facts is not None else None
