"""What only several values of agent.toml together can get wrong: names that mean nothing, curves that run backwards."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator

from risefall.agent.settings import Condition, Curve, Load, Op, Psi, Service, Settings
from risefall.agent.tables import Where
from risefall.config.text import nearest

Found = tuple[Where, str, str]
LOAD_MINUTES = (1, 5, 15)
PSI_SECONDS = (10, 60, 300)
MOST = {"services": 64, "addresses": 64, "networks": 256}
"""What the answerer has room for (native/answer.h)."""


def findings(settings: Settings) -> Iterator[Found]:
    """Key, message and next step of everything that is wrong."""
    agent = settings.agent
    addresses = {*agent.listen, *(text for service in settings.service.values() for text in service.listen)}
    sizes = {"services": len(settings.service), "addresses": len(addresses), "networks": len(agent.allow)}
    for what, size in sizes.items():
        if size > MOST[what]:
            yield ("agent",), f"{size} {what}, at most {MOST[what]} are possible", "run a second agent for the others"
    for index, text in enumerate(agent.listen):
        yield from check_listen(("agent", "listen", index), text)
    if agent.http:
        yield from check_listen(("agent", "http"), agent.http)
        if agent.http in addresses and not agent.http.endswith(":0"):
            yield (
                ("agent", "http"),
                f"'{agent.http}' is where HAProxy asks already",
                "give the pages a port of their own",
            )
    for index, text in enumerate(agent.allow):
        yield from check_network(("agent", "allow", index), text)
    yield from check_words(settings)
    for name, service in settings.service.items():
        yield from check_service(("service", name), service)
    if not agent.listen and any(not service.listen for service in settings.service.values()):
        yield ("agent", "listen"), "services without a 'listen' of their own are nowhere answered", "listen on a port"


def split_listen(text: str) -> tuple[str, int]:
    """Host and port of `10.0.0.1:9777`, `[::]:9777` or `:9777`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(text)
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    return (str(ipaddress.ip_address(host)) if host not in ("", "*") else "0.0.0.0"), int(port)


def check_listen(where: Where, text: str) -> Iterator[Found]:
    try:
        split_listen(text)
    except ValueError:
        yield where, f"'{text}' is no address with a port", 'write "0.0.0.0:9777", "[::]:9777" or ":9777"'


def check_network(where: Where, text: str) -> Iterator[Found]:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        yield where, str(error), 'write a network such as "10.0.0.0/8", or one address'


def check_words(settings: Settings) -> Iterator[Found]:
    """What HAProxy sends names one service; at most one is the default."""
    owners: dict[str, str] = {}
    defaults: list[str] = []
    for name, service in settings.service.items():
        word = service.send or name
        if word in owners:
            message = f"'{word}' already means the service '{owners[word]}'"
            yield ("service", name, "send"), message, "give each service a word of its own"
        owners.setdefault(word, name)
        if service.default:
            defaults.append(name)
        if not name or any(char.isspace() or not char.isprintable() for char in name):
            yield ("service", name), "a service's name has no blanks", "write letters, digits, _ and -"
    for name in defaults[1:]:
        yield ("service", name, "default"), f"'{defaults[0]}' is the default already", "keep one of the two"


def check_service(where: Where, service: Service) -> Iterator[Found]:
    """One service: its signals, and what speaks of them."""
    for index, text in enumerate(service.listen):
        yield from check_listen((*where, "listen", index), text)
    names: list[str] = []
    for index, signal in enumerate(service.signal):
        here = (*where, "signal", index)
        name = signal.name or str(signal.__struct_config__.tag)
        if name in names:
            yield (*here, "name"), f"there is a signal '{name}' already", "give each a 'name' of its own"
        names.append(name)
        yield from check_curve((*here, "curve"), signal.curve, 100)
        if isinstance(signal, Load) and signal.minutes not in LOAD_MINUTES:
            yield (*here, "minutes"), f"the kernel has no average of {signal.minutes} minutes", "write 1, 5 or 15"
        if isinstance(signal, Psi) and signal.seconds not in PSI_SECONDS:
            yield (*here, "seconds"), f"the kernel has no average of {signal.seconds} s", "write 10, 60 or 300"
        if signal.every_ms + signal.timeout_ms > service.stale_ms:
            message = (
                f"read every {signal.every_ms} ms within {signal.timeout_ms} ms, it can be older than 'stale' allows"
            )
            yield (
                (*here, "every"),
                message,
                f"raise stale above {signal.every_ms + signal.timeout_ms} ms, or read more often",
            )
    if service.maxconn is not None:
        yield from check_known((*where, "maxconn", "signal"), service.maxconn.signal, names)
        yield from check_curve((*where, "maxconn", "curve"), service.maxconn.curve, None)
        if not service.maxconn.curve:
            yield (*where, "maxconn"), "maxconn needs a curve", "write curve = [[0, 400], [100, 50]]"
    for index, condition in enumerate(service.state):
        yield from check_condition((*where, "state", index), condition, names)


def check_known(where: Where, name: str, names: list[str]) -> Iterator[Found]:
    if name not in names:
        close = nearest(name, names)
        listed = ", ".join(names) or "none"
        yield (
            where,
            f"this service has no signal '{name}'",
            f"did you mean '{close}'?" if close else f"signals: {listed}",
        )


def check_curve(where: Where, curve: Curve, top: float | None) -> Iterator[Found]:
    """Values rise, and weights stay within 0..100."""
    for (left, _), (right, _) in itertools.pairwise(curve):
        if not right > left:
            yield (
                where,
                f"the values must rise: {right:g} follows {left:g}",
                "put the points in the order of their values",
            )
    for value, weight in curve:
        if top is not None and weight > top:
            yield where, f"the point [{value:g}, {weight:g}] asks for a weight above {top:g}", "weights are 0 to 100"
        if abs(value) == float("inf") or value != value:
            yield where, "a point must be a finite number", "write plain numbers"


def check_condition(where: Where, condition: Condition, names: list[str]) -> Iterator[Found]:
    yield from check_known((*where, "signal"), condition.signal, names)
    if condition.op is Op.FAILING and condition.value is not None:
        yield (*where, "value"), "'failing' compares with nothing", "leave 'value' out"
    if condition.op is not Op.FAILING and condition.value is None:
        yield where, f"'{condition.op.value}' needs a 'value'", "write value = 90"
