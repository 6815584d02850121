"""Checks that the native driver cannot make, made by the trio driver: HTTP/2, and TLS in a build without libssl.

The engine keeps their pace, counters and records: an event asks for each run, a report brings its end (`native/outside.c`).
A few dozen run at once, the rest wait for their turn. Source: spec/haproxy-checks.md §2.6; haproxy configuration manual 2.6,
§5.2 check-proto, proto, check-alpn.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

import msgspec
import trio

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import CheckKind, ConnectRule, ServerSettings
from risefall.config.haproxy.plan import PlannedServer
from risefall.engine import tls
from risefall.engine._native import lib
from risefall.engine.drive import Driver, SocketWire, TlsError, Transcript, Wire
from risefall.engine.h2wire import H2Wire
from risefall.engine.layout import NotChecked
from risefall.engine.names import Found
from risefall.engine.native import CheckSpec, Endpoint, Event, Handle, Probe, Program, Want
from risefall.engine.proxywire import Ahead, AheadWire
from risefall.engine.tls import TlsSettings
from risefall.engine.tlswire import TlsOptions, TlsWire, make_context
from risefall.engine.transports import default_layers, server_name, socks4_of
from risefall.errors import StartError

AT_ONCE = 64
RETRY_S = 0.005
H2 = "h2"


class Leg(msgspec.Struct, frozen=True):
    """What one connection of a check goes through.

    tls: None for plain; h2: always, by_alpn: where the handshake chose it. ahead: what comes before all this.
    """

    tls: TlsOptions | None = None
    h2: bool = False
    by_alpn: bool = False
    ahead: Ahead = Ahead()


class Reach(msgspec.Struct, frozen=True):
    """The connections of a check, in order."""

    legs: tuple[Leg, ...]


Facts = Callable[[int], tuple[str, int, int, bool]]
"""Of a check, by the key that it was added with: state text, weight, its proxy's total weight, and whether it is down or in maintenance."""
Report = Callable[[Handle, int, Probe], bool]


# --- which checks ------------------------------------------------------------------------------------------------


def split_alpn(text: str) -> tuple[str, ...]:
    """`h2,http/1.1` as names."""
    return tuple(name for name in text.split(",") if name)


class LegMaker:
    """Says how each connection of one server's check goes."""

    def __init__(
        self, planned: PlannedServer, host: str, dialect: Dialect, contexts: tls.Contexts, found: Found
    ) -> None:
        self._planned = planned
        self._found = found
        self._settings: ServerSettings = planned.config.settings
        self._http = planned.rules.kind is CheckKind.HTTP
        self._name = server_name(self._settings, host, dialect)
        self._inherited_proto = self._settings.check_proto or self._settings.proto
        self._dialect = dialect
        self._contexts = contexts

    def rules(self) -> list[ConnectRule | None]:
        """The connect rules, None for the implicit one."""
        found: list[ConnectRule | None] = [rule for rule in self._planned.rules.rules if isinstance(rule, ConnectRule)]
        return found or [None]

    def leg(self, rule: ConnectRule | None) -> Leg:
        """One connection. Raises NotChecked for what cannot be combined."""
        inherits = rule is None or rule.default
        layers = default_layers(self._settings) if inherits else 0
        secure = bool(layers & lib.RF_LAYER_TLS) or (rule is not None and rule.ssl)
        proto = (rule.proto if rule is not None else "") or (self._inherited_proto if inherits else "")
        named = (rule.alpn if rule is not None else "") or (self._settings.check_alpn if inherits else "")
        alpn = split_alpn(named or (self._settings.alpn if inherits else "")) if secure else ()
        h2 = self._http and proto == H2
        speaks = bool(named) or self._dialect.h2_in_checks  # what the server's own `alpn` chose, 2.6 does not ask for
        by_alpn = self._http and not proto and speaks and H2 in alpn
        socks4 = None
        if layers & lib.RF_LAYER_SOCKS4 or (rule is not None and rule.via_socks4):
            socks4 = socks4_of(self._settings, self._found)
        proxy = 0
        if layers & lib.RF_LAYER_PROXY_V1 or (rule is not None and rule.send_proxy):
            proxy = 2 if self._settings.send_proxy.startswith("v2") else 1
        sni = rule.sni if rule is not None and rule.sni else self._name if inherits else ""
        options = options_of(self._contexts.settings(self._settings), sni, alpn) if secure else None
        return Leg(options, h2, by_alpn, Ahead(proxy, socks4))


def options_of(settings: TlsSettings, sni: str, alpn: tuple[str, ...]) -> TlsOptions:
    """TLS as Python's ssl module does it. Raises NotChecked for what it cannot be told."""
    for name in ("ciphersuites", "curves", "sigalgs", "client_sigalgs"):
        if getattr(settings, name):
            raise NotChecked(f"'{name.replace('_', '-')}' is not supported for HTTP/2, or without libssl")
    if settings.verify and not settings.ca_file:
        raise NotChecked(tls.NO_CA_FILE)
    return TlsOptions(
        sni=sni,
        alpn=alpn,
        ca_file=settings.ca_file,
        verify=settings.verify,
        crt=settings.crt,
        crl_file=settings.crl_file,
        ciphers=settings.ciphers,
        verify_host=settings.verify_host,
        version_min=settings.version_min,
        version_max=settings.version_max,
    )


def reach_of(planned: PlannedServer, host: str, dialect: Dialect, contexts: tls.Contexts, found: Found) -> Reach | None:
    """How the trio driver is to make this check, None where the native one can. Raises NotChecked."""
    maker = LegMaker(planned, host, dialect, contexts, found)
    settings = planned.config.settings
    asks = H2 in (settings.check_proto, settings.proto, *split_alpn(settings.check_alpn or settings.alpn)) or any(
        rule is not None and (rule.proto == H2 or H2 in split_alpn(rule.alpn)) for rule in maker.rules()
    )
    if not asks and tls.available():
        return None
    legs = tuple(maker.leg(rule) for rule in maker.rules())
    if not any(leg.h2 or leg.by_alpn or (leg.tls is not None and not tls.available()) for leg in legs):
        return None
    for leg in legs:
        if leg.tls is not None:
            try:
                make_context(leg.tls)
            except StartError as error:
                raise NotChecked(str(error)) from error
    return Reach(legs)


# --- running them --------------------------------------------------------------------------------------------------


class LegWire:
    """A wire whose connections each go their own way, by their number."""

    def __init__(self, spec: CheckSpec, reach: Reach, probe: Probe, contexts: dict[TlsOptions, ssl.SSLContext]) -> None:
        self._spec = spec
        self._reach = reach
        self._probe = probe
        self._contexts = contexts
        self._wire: Wire = SocketWire(spec.to)

    async def connect(self, want: Want) -> None:
        """Opens the connection that a probe wants, by its leg."""
        leg = self._reach.legs[min(want.connection, len(self._reach.legs)) - 1]
        spec = self._spec
        ahead = msgspec.structs.replace(
            leg.ahead,
            source=spec.source,
            source_port_max=spec.source_port_max,
            interface=spec.interface,
            netns=spec.netns,
        )
        wire: Wire = AheadWire(spec.to, ahead)
        secure = None
        if leg.tls is not None:
            context = self._context(leg.tls)
            secure = wire = TlsWire(wire, leg.tls, Transcript(), begins=self._probe.tls_begins, context=context)
        if leg.h2 or leg.by_alpn:
            wire = H2Wire(wire, wanted=lambda: leg.h2 or chose_h2(secure))
        self._wire = wire
        await wire.connect(want)

    def _context(self, options: TlsOptions) -> ssl.SSLContext:
        """Made once for all checks with these options. Raises TlsError where a file has gone since the start."""
        if options not in self._contexts:
            try:
                self._contexts[options] = make_context(options)
            except StartError as error:
                raise TlsError(str(error)) from error
        return self._contexts[options]

    async def send(self, data: bytes) -> int:
        """Sends some of it; how many bytes."""
        return await self._wire.send(data)

    async def receive(self, room: int) -> bytes:
        """What has come, at most `room` bytes; nothing: the peer ended its stream."""
        return await self._wire.receive(room)

    def addresses(self) -> tuple[Endpoint, Endpoint]:
        """Both ends of the open connection."""
        return self._wire.addresses()

    def end(self, how: int, last: bytes = b"") -> None:
        """Ends the open connection, if any."""
        self._wire.end(how, last)


def chose_h2(wire: TlsWire | None) -> bool:
    """Whether a handshake ended with HTTP/2 as its application."""
    return wire is not None and wire.facts is not None and wire.facts.alpn == H2


class _Made(msgspec.Struct):
    """One check that is made here."""

    program: Program
    spec: CheckSpec
    reach: Reach
    scope: trio.CancelScope | None = None


class Outside:
    """Makes the runs that events ask for; `run` first, in a nursery."""

    def __init__(self, facts: Facts = lambda key: ("", 1, 1, False)) -> None:
        self._facts = facts
        self._checks: dict[int, _Made] = {}
        self._contexts: dict[TlsOptions, ssl.SSLContext] = {}
        self._limit = trio.CapacityLimiter(AT_ONCE)
        self._asked, self._asks = trio.open_memory_channel[tuple[int, Event, Report]](float("inf"))

    def add(self, key: int, program: Program, spec: CheckSpec, reach: Reach) -> None:
        """A check that will be asked for by `key`."""
        self._checks[key] = _Made(program, spec, reach)

    def remove(self, key: int) -> None:
        """A check that is gone; nothing for checks that are not made here."""
        made = self._checks.pop(key, None)
        if made is not None and made.scope is not None:
            made.scope.cancel()

    def move(self, key: int, to: Endpoint) -> None:
        """A check's new address, from its next run on; nothing for checks that are not made here."""
        if (made := self._checks.get(key)) is not None:
            made.spec = msgspec.structs.replace(made.spec, to=to)

    def retell(self, key: int, site: bytes) -> None:
        """Other texts of a check's server, from its next run on; nothing for checks that are not made here."""
        if (made := self._checks.get(key)) is not None:
            made.spec = msgspec.structs.replace(made.spec, site=site)

    def ask(self, key: int, event: Event, report: Report) -> None:
        """One run, as `event` asks for it. At most one a check waits or runs: the engine asks again after a report only."""
        self._asked.send_nowait((key, event, report))

    async def run(self) -> None:
        """Makes runs until cancelled."""
        async with trio.open_nursery() as nursery:
            async for key, event, report in self._asks:
                made = self._checks.get(key)
                if made is None:
                    continue
                if made.scope is not None:
                    made.scope.cancel()  # the engine has given that run up
                made.scope = trio.CancelScope()
                nursery.start_soon(self._one, key, made, made.scope, event, report)

    async def _one(self, key: int, made: _Made, scope: trio.CancelScope, event: Event, report: Report) -> None:
        with scope:
            async with self._limit:
                probe = Probe(made.program, made.spec)
                state_text, weight, total, stopped = self._facts(key)
                probe.facts(
                    last_status=event.result.status, last_code=event.result.code, state_text=state_text, weight=weight,
                    total_weight=total, stopped=stopped,
                )  # fmt: skip
                await Driver(probe, LegWire(made.spec, made.reach, probe, self._contexts)).run()
            while not report(event.check, event.run, probe):
                await trio.sleep(RETRY_S)
        if made.scope is scope:
            made.scope = None
