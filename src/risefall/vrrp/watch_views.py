"""What a watch shows of its routers: frozen values for tables and JSON, in a stable order. No password is among them."""

from __future__ import annotations

import msgspec

from risefall.vrrp.routers import Router
from risefall.vrrp.senders import HOLDS, Sender, auth_name
from risefall.vrrp.watch import Watch


class SenderView(msgspec.Struct, frozen=True):
    """One source address. standing: `MASTER`, `silenced`, `rival`, `yielded`, `resigned`, `lost`.

    priority: of its last advert, 0 when it has resigned. late_median_ms, late_worst_ms: against its own interval, None before
    the second advert. silent_ms: since its last advert. skew_ms, down_ms: of its priority, with three adverts. refused: what
    keepalived of the given configuration logs of its adverts, differs: all in which they differ from it. this_machine: we sent it.
    """

    source: str
    standing: str
    priority: int
    version: int
    auth: str
    interval_ms: int
    addresses: tuple[str, ...]
    destination: str
    ttl: int | None
    adverts: int
    late_median_ms: float | None
    late_worst_ms: float | None
    silent_ms: int
    skew_ms: float
    down_ms: float
    wrong: tuple[str, ...]
    refused: str
    refused_count: int
    differs: tuple[str, ...]
    this_machine: bool


class RouterView(msgspec.Struct, frozen=True):
    """One virtual router. instance: its name in the given configuration. masters: those that hold it.

    two_masters_ms: for how long, in all, there was more than one. sound: one master, and nothing wrong with it.
    """

    interface: str
    vrid: int
    family: int
    instance: str
    masters: tuple[str, ...]
    sound: bool
    takeovers: int
    two_masters_ms: int
    senders: tuple[SenderView, ...]


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1000


def _sender(router: Router, sender: Sender, now_us: int) -> SenderView:
    advert = sender.parsed.advert
    return SenderView(
        source=sender.source,
        standing=sender.standing.value,
        priority=advert.priority,
        version=advert.version,
        auth=auth_name(sender.parsed.auth_type) if advert.version == 2 else "",
        interval_ms=advert.adv_us // 1000,
        addresses=advert.vips,
        destination=sender.datagram.destination,
        ttl=sender.datagram.ttl,
        adverts=sender.adverts,
        late_median_ms=_ms(sender.late.median_us),
        late_worst_ms=_ms(sender.late.worst_us),
        silent_ms=max(now_us - sender.last_us, 0) // 1000,
        skew_ms=sender.skew_us / 1000,
        down_ms=router.down_us(sender) / 1000,
        wrong=sender.wrong,
        refused=sender.refused,
        refused_count=sender.refused_count,
        differs=router.own.differences(sender) if router.own is not None else (),
        this_machine=sender.datagram.ours,
    )


def _rank(sender: Sender) -> tuple[bool, int, str]:
    holds = sender.standing in HOLDS
    return not holds, -sender.priority if holds else -sender.last_us, sender.source


def views(watch: Watch, now_us: int) -> list[RouterView]:
    """All routers, by interface, id and family; of each the masters first, the best before the others, then who spoke last."""
    found = []
    for router in sorted(watch.routers.values(), key=lambda one: (one.interface, one.vrid, one.family, one.instance)):
        senders = sorted(router.senders.values(), key=_rank)
        found.append(
            RouterView(
                interface=router.interface,
                vrid=router.vrid,
                family=router.family,
                instance=router.instance,
                masters=tuple(sorted(one.source for one in router.holders)),
                sound=router.sound,
                takeovers=router.takeovers,
                two_masters_ms=router.two_masters_us(now_us) // 1000,
                senders=tuple(_sender(router, one, now_us) for one in senders),
            )
        )
    return found
