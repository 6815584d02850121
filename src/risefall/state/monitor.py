"""What a frontend's `monitor fail` asks of the servers: values of fetches, and whether a condition holds.

There is no traffic here: connections, queues and rates are 0. Source: spec/haproxy-checks.md §8.2, §8.3.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

import msgspec

from risefall.config.haproxy.acls import Condition, Term, Test
from risefall.state.fleet import Fleet
from risefall.state.server import MAINT, Op, ProxyState


class Asked(msgspec.Struct, frozen=True):
    """What a request is: who asks, where, for what. front: the name of the proxy that is asked."""

    source: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None
    port: int = 0
    method: str = "GET"
    path: str = "/"
    front: str = ""


def holds(fleet: Fleet, condition: Condition, asked: Asked) -> bool:
    """Whether a condition is true now."""
    true = any(all(_term(fleet, term, asked) for term in choice) for choice in condition.choices)
    return true is not condition.unless


def _term(fleet: Fleet, term: Term, asked: Asked) -> bool:
    return any(_test(fleet, test, asked) for test in term.tests) is not term.negated


def _test(fleet: Fleet, test: Test, asked: Asked) -> bool:
    value = value_of(fleet, test, asked)
    if value is None:
        return False
    match test.how:
        case "found":
            return True
        case "int" | "bool":
            number = int(value) if isinstance(value, int) else len(value)
            return any((low is None or low <= number) and (high is None or number <= high) for low, high in test.bounds)
        case "ip":
            source = asked.source
            return source is not None and any(
                source.version == network.version and source in network for network in test.networks
            )
    text = str(int(value)) if isinstance(value, int) else value
    return any(_matches(test, text, wanted) for wanted in test.texts)


def _matches(test: Test, text: str, wanted: str) -> bool:
    if test.caseless:
        text, wanted = text.lower(), wanted.lower()
    match test.how:
        case "beg":
            return text.startswith(wanted)
        case "end":
            return text.endswith(wanted)
        case "sub":
            return wanted in text
    return text == wanted


def value_of(fleet: Fleet, test: Test, asked: Asked) -> int | str | None:
    """The value of a fetch; None where what it asks about is gone."""
    match test.fetch:
        case "always_true" | "always_false":
            return test.fetch == "always_true"
        case "src":
            return str(asked.source) if asked.source is not None else None
        case "dst_port":
            return asked.port
        case "path":
            return asked.path.partition("?")[0]
        case "method":
            return asked.method
        case "fe_name" | "be_name":
            return asked.front
        case "fe_conn" | "fe_sess_rate" | "fe_id" | "be_id":
            return next((proxy.id for proxy in fleet.proxies if proxy.name == asked.front), 0) * ("_id" in test.fetch)
    if len(test.args) == 2:
        index = find_server(fleet, *test.args)
        return None if index is None else OF_SERVERS[test.fetch](fleet, index)
    place = next(
        (at for at, proxy in enumerate(fleet.proxies) if proxy.has_backend and proxy.name == test.args[0]), None
    )
    return None if place is None else OF_BACKENDS[test.fetch](fleet, fleet.proxies[place])


def number_of(fleet: Fleet, fetch: str, backend: str, server: str) -> int | None:
    """The value of a fetch of a backend, or of a server, for the expressions of checks."""
    value = value_of(fleet, Test(fetch, (backend, server) if server else (backend,)), Asked())
    return int(value) if isinstance(value, int) else None


def find_server(fleet: Fleet, backend: str, server: str) -> int | None:
    """Its place, None where it is gone."""
    for proxy in fleet.proxies:
        if proxy.has_backend and proxy.name == backend:
            return next((index for index in proxy.own if fleet.servers[index].name == server), None)
    return None


def nbsrv(fleet: Fleet, proxy: ProxyState) -> int:
    """Usable servers: actives, else backups, of which only the first is in use without `option allbackups`."""
    if proxy.disabled:
        return 0
    if proxy.active:
        return proxy.active
    return proxy.backup_active if proxy.allbackups else min(1, proxy.backup_active)


def connslots(fleet: Fleet, proxy: ProxyState) -> int:
    """Connections and queue places of servers that are not stopped; -1 as soon as one has no limit."""
    total = 0
    for index in proxy.own:
        server = fleet.servers[index]
        if server.op is Op.STOPPED:
            continue
        if not server.maxconn or not server.maxqueue:
            return -1
        total += server.maxconn + server.maxqueue
    return total


def in_use(fleet: Fleet, proxy: ProxyState) -> Sequence[int]:
    """The servers that traffic would go to now."""
    usable = [index for index in proxy.own if fleet.usable(index)]
    actives = [index for index in usable if not fleet.servers[index].backup]
    return actives or (usable if proxy.allbackups else usable[:1])


def be_conn_free(fleet: Fleet, proxy: ProxyState) -> int:
    """Connections that the servers in use still take; -1 as soon as one has no limit."""
    limits = [fleet.servers[index].maxconn for index in in_use(fleet, proxy)]
    return sum(limits) if all(limits) else -1


def srv_is_up(fleet: Fleet, index: int) -> int:
    """Unless in maintenance, or checked and stopped."""
    server = fleet.servers[index]
    return not server.admin & MAINT and not (server.health is not None and server.op is Op.STOPPED)


def none(fleet: Fleet, what: object) -> int:
    """There is no traffic."""
    return 0


OF_BACKENDS: dict[str, Callable[[Fleet, ProxyState], int]] = {
    "nbsrv": nbsrv,
    "connslots": connslots,
    "be_conn_free": be_conn_free,
    "avg_queue": none,
    "queue": none,
    "be_conn": none,
    "be_sess_rate": none,
}
OF_SERVERS: dict[str, Callable[[Fleet, int], int]] = {
    "srv_is_up": srv_is_up,
    "srv_conn_free": lambda fleet, index: fleet.servers[index].maxconn or -1,
    "srv_conn": none,
    "srv_queue": none,
    "srv_sess_rate": none,
    "srv_weight": lambda fleet, index: fleet.effective_weight(index),
    "srv_uweight": lambda fleet, index: fleet.servers[index].uweight,
    "srv_iweight": lambda fleet, index: fleet.servers[index].iweight,
}
