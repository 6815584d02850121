"""What the connections of a server's checks go through: PROXY header, SOCKS4, TLS; one object for each distinct setting.

Source: spec/haproxy-checks.md §2.6; haproxy configuration manual 2.6, §5.2 check-ssl, check-send-proxy, check-via-socks4,
check-sni, check-alpn.
"""

from __future__ import annotations

from collections.abc import Callable

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import ConnectRule, ServerSettings
from risefall.config.haproxy.plan import PlannedServer
from risefall.engine._native import lib
from risefall.engine.layout import NotChecked, alpn_wire
from risefall.engine.names import Found, Unresolved, endpoint
from risefall.engine.native import Endpoint, Foreign, Transport
from risefall.errors import NativeError

ContextOf = Callable[[ServerSettings], Foreign]
"""A TLS context of a server's settings. Raises NotChecked with the reason."""


def default_layers(settings: ServerSettings) -> int:
    """What a `default` or implicit connect goes through: `addr` and `port` switch off what the server line inherits."""
    moved = settings.addr is not None or settings.port != 0
    tls = settings.check_ssl if settings.check_ssl is not None else settings.ssl and not moved
    proxy = settings.check_send_proxy or (bool(settings.send_proxy) and not moved)
    return (
        (lib.RF_LAYER_TLS if tls else 0)
        | (lib.RF_LAYER_PROXY_V1 if proxy else 0)
        | (lib.RF_LAYER_SOCKS4 if settings.check_via_socks4 and settings.socks4 is not None else 0)
    )


def connect_layers(planned: PlannedServer) -> int:
    """What connect rules ask for by themselves."""
    layers = 0
    for rule in planned.rules.rules:
        if isinstance(rule, ConnectRule):
            layers |= lib.RF_LAYER_TLS if rule.ssl else 0
            layers |= lib.RF_LAYER_PROXY_V1 if rule.send_proxy else 0
            layers |= lib.RF_LAYER_SOCKS4 if rule.via_socks4 and planned.config.settings.socks4 is not None else 0
    return layers


def server_name(settings: ServerSettings, host: str, dialect: Dialect) -> str:
    """`check-sni`; else, in 3, the name that the request calls the server by, without its port."""
    if settings.check_sni or not dialect.auto_sni or ("no-check-sni-auto",) in settings.other:
        return settings.check_sni
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() and not host.startswith("[") else host


def socks4_of(settings: ServerSettings, found: Found) -> Endpoint | None:
    """A server's SOCKS4 proxy, None where its line names none. Raises NotChecked when its name has no address."""
    if settings.socks4 is None:
        return None
    to = endpoint(settings.socks4, settings.socks4.port, found)
    if isinstance(to, Unresolved):
        raise NotChecked(f"socks4 {settings.socks4.host}: {to.why}")
    return to


class Transports:
    """Makes transports; plain connections have none."""

    def __init__(self, contexts: ContextOf, found: Found) -> None:
        self._contexts = contexts
        self._found = found
        self._made: dict[tuple[int, str], Transport | NotChecked] = {}
        self._kept: list[ServerSettings] = []  # keeps ids of `_made` from being used again

    def transport(self, planned: PlannedServer, host: str, dialect: Dialect) -> Transport | None:
        """The transport of one server, None for plain connections; host: of its first request. Raises NotChecked."""
        settings = planned.config.settings
        layers = default_layers(settings)
        asked = layers | connect_layers(planned)
        if not asked:
            return None
        sni = server_name(settings, host, dialect)
        key = (id(settings) << 8 | asked, sni)
        if key not in self._made:
            self._kept.append(settings)
            try:
                self._made[key] = self._make(settings, layers, asked, sni)
            except NotChecked as why:
                self._made[key] = why
        made = self._made[key]
        if isinstance(made, NotChecked):
            raise made
        return made

    def _make(self, settings: ServerSettings, layers: int, asked: int, sni: str) -> Transport:
        alpn = alpn_wire(settings.check_alpn or settings.alpn)
        tls = self._contexts(settings) if asked & lib.RF_LAYER_TLS else None
        try:
            return Transport(
                layers,
                tls=tls,
                socks4=socks4_of(settings, self._found) if asked & lib.RF_LAYER_SOCKS4 else None,
                sni=sni,
                alpn=alpn,
                proxy_v2=settings.send_proxy.startswith("v2"),
            )
        except NativeError as error:
            raise NotChecked(str(error)) from error
