"""Which servers want their names resolved at run time, by whom and how: read off the plan before it goes."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence

from risefall.config.haproxy.model import Family, Resolvers, is_service
from risefall.config.haproxy.resolvers import implied
from risefall.engine.targets import Target
from risefall.state.answers import Kind
from risefall.state.resolution import Wish
from risefall.surfaces.resolvers import Tally

Sections = list[tuple[Resolvers, list[Wish]]]


def sections_of(known: Mapping[str, Resolvers], targets: Sequence[Target]) -> Sections:
    """What every server wants of its resolvers, by section; one with a numeric address wants nothing until a command names it."""
    wishes: dict[str, list[Wish]] = {}
    for index, target in enumerate(targets):
        planned = target.planned
        name = planned.config.settings.resolvers
        if name and not planned.proxy.disabled:
            wishes.setdefault(name, []).append(wish_of(index, target))
    return [(known[name], found) for name, found in wishes.items()]


def wish_of(index: int, target: Target) -> Wish:
    planned, settings = target.planned, target.planned.config.settings
    own = planned.config.address
    ipv4 = settings.resolve_prefer == "ipv4"
    return Wish(
        index,
        own.host if own.family is Family.NAME else "",
        service=is_service(own, settings),
        prefer=Kind.A if ipv4 else Kind.AAAA,
        networks=tuple(ipaddress.ip_network(text) for text in settings.resolve_net),
        dup_ip=settings.resolve_dup_ip,
        ignore_weight=settings.resolve_ignore_weight,
    )


def tallies_of(known: Mapping[str, Resolvers], counters: tuple[str, ...]) -> dict[str, Tally]:
    """Counters of every section that the file writes, and of its name servers, in order."""
    return {
        name: Tally(name, {one.name: Counter() for one in settings.nameservers}, counters)
        for name, settings in known.items()
        if settings != implied()
    }
