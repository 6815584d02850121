"""What one VRRP instance is told: frozen settings, and the rules that make them whole.

Source: spec/keepalived-track.md §3.1, §4.1, §4.8; tests/vrrp/test_settings.py holds the rows.
"""

from __future__ import annotations

from enum import Enum, IntEnum

import msgspec

US_PER_S = 1_000_000
US_PER_CS = 10_000
OWNER = 255
"""The priority of an address owner; trackers never move it."""
CONFIGURATION = "configuration"
"""The reason of FAULT that a setting is."""
PRIORITY_DEFAULT = 100
V2_ADV_MAX_S = 255
V3_ADV_MAX_CS = 4095
PREEMPT_DELAY_MAX_US = 1000 * US_PER_S
DOWN_TIMER_ADVERTS = 3
DOWN_TIMER_ADVERTS_MAX = 100


class Imitated(Enum):
    """Which keepalived is meant where versions differ."""

    V2_2_7 = "2.2.7"
    HEAD = "head"
    """The development snapshot that the spec describes, v2.4.3-30."""


class AuthType(IntEnum):
    """The number on the wire."""

    NONE = 0
    PASS = 1
    AH = 2


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """kind: none, PASS or AH. key: at most 8 bytes."""

    kind: AuthType = AuthType.NONE
    key: bytes = b""


class Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One unicast peer. ttl_min, ttl_max: 0..255, only looked at with check_unicast_src."""

    address: str
    ttl_min: int = 0
    ttl_max: int = 255


class InstanceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One instance on one node, after `settled`: every number lies in its range.

    source: own primary address of the instance's interface, which decides between equal MASTERs.
    adv_us: whole seconds for version 2, whole centiseconds for version 3.
    vips: the advertised addresses; excluded ones are not among them.
    lasting: reasons of FAULT that stay until the next start.
    """

    name: str
    source: str
    vrid: int = 51
    priority: int = PRIORITY_DEFAULT
    version: int = 2
    adv_us: int = US_PER_S
    vips: tuple[str, ...] = ()
    auth: Auth = Auth()
    nopreempt: bool = False
    preempt_delay_us: int = 0
    down_timer_adverts: int = DOWN_TIMER_ADVERTS
    higher_prio_send_advert: bool = False
    lower_prio_no_advert: bool = False
    owner_ignore_adverts: bool = False
    skip_check_adv_addr: bool = False
    check_unicast_src: bool = False
    unicast_ttl: int = 255
    peers: tuple[Peer, ...] = ()
    dont_track_primary: bool = False
    lasting: tuple[str, ...] = ()
    imitated: Imitated = Imitated.V2_2_7

    @property
    def unicast(self) -> bool:
        """Adverts go to peers, not to the multicast group; own address among the peers counts too."""
        return bool(self.peers)

    @property
    def owner(self) -> bool:
        """Configured as the owner of the addresses."""
        return self.priority == OWNER


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a config says of the election, before the rules: None where it is silent. adv_s: seconds, with decimals."""

    name: str
    source: str
    vrid: int
    state_master: bool = False
    priority: int | None = None
    version: int = 2
    adv_s: float | None = None
    vips: tuple[str, ...] = ()
    auth: Auth | None = None
    nopreempt: bool = False
    preempt_delay_s: float = 0
    down_timer_adverts: int | None = None
    higher_prio_send_advert: bool = False
    lower_prio_no_advert: bool | None = None
    owner_ignore_adverts: bool = False
    strict: bool = False
    peers: tuple[Peer, ...] = ()


class Settled(msgspec.Struct, frozen=True):
    """settings: what keepalived would run. said: what it changed, one line each, in no order that matters."""

    settings: InstanceSettings
    said: tuple[str, ...]


def settled(wish: Wish, imitated: Imitated = Imitated.V2_2_7) -> Settled:
    """Applies the bounds and the exclusions of §4.1 and §4.8.

    Raises: ValueError for a virtual_router_id outside 1..255; keepalived does not run with it.
    """
    if not 1 <= wish.vrid <= 255:
        raise ValueError(f"virtual_router_id of {wish.name} must be 1..255, not {wish.vrid}")
    said: list[str] = []
    version = 3 if ":" in wish.source else wish.version
    priority = _priority(wish, said)
    nopreempt, delay_us = _preemption(wish, priority, said)
    settings = InstanceSettings(
        name=wish.name,
        source=wish.source,
        vrid=wish.vrid,
        priority=priority,
        version=version,
        adv_us=_advert_us(wish, version, said),
        vips=wish.vips,
        auth=_auth(wish, version, said),
        nopreempt=nopreempt,
        preempt_delay_us=delay_us,
        down_timer_adverts=_down_timer(wish, said),
        higher_prio_send_advert=wish.higher_prio_send_advert and not wish.strict,
        lower_prio_no_advert=wish.strict or bool(wish.lower_prio_no_advert),
        owner_ignore_adverts=priority == OWNER and (wish.owner_ignore_adverts or wish.strict),
        peers=wish.peers,
        imitated=imitated,
    )
    return Settled(settings=settings, said=tuple(said))


def _priority(wish: Wish, said: list[str]) -> int:
    if wish.priority is None:
        return OWNER if wish.state_master else PRIORITY_DEFAULT
    if not 1 <= wish.priority <= OWNER:
        said.append(f"priority {wish.priority} is not in 1..255, using {PRIORITY_DEFAULT}")
        return PRIORITY_DEFAULT
    return wish.priority


def _advert_us(wish: Wish, version: int, said: list[str]) -> int:
    asked = round((1.0 if wish.adv_s is None else wish.adv_s) * 100)
    if version == 2:
        whole = min(max((asked + 50) // 100, 1), V2_ADV_MAX_S)
        used = whole * 100
    else:
        used = min(max(asked, 1), V3_ADV_MAX_CS)
    if used != asked:
        said.append(f"advert_int {asked / 100:g} becomes {used / 100:g}")
    return used * US_PER_CS


def _auth(wish: Wish, version: int, said: list[str]) -> Auth:
    auth = wish.auth
    if auth is None or auth.kind is AuthType.NONE:
        return Auth()
    if version == 3 or wish.strict:
        said.append("authentication is ignored")
        return Auth()
    if not auth.key:
        said.append("authentication without a password is ignored")
        return Auth()
    if len(auth.key) > 8:
        said.append("the password is cut to 8 characters")
    return Auth(kind=auth.kind, key=auth.key[:8])


def _preemption(wish: Wish, priority: int, said: list[str]) -> tuple[bool, int]:
    """nopreempt, and the delay in microseconds; the first rules out the second."""
    nopreempt = wish.nopreempt
    if nopreempt and (wish.state_master or priority == OWNER):
        said.append("nopreempt is cleared by state MASTER or priority 255")
        nopreempt = False
    delay_us = round(wish.preempt_delay_s * US_PER_S)
    if not 0 <= delay_us <= PREEMPT_DELAY_MAX_US:
        said.append("preempt_delay must be 0..1000, ignored")
        delay_us = 0
    if delay_us and (nopreempt or wish.state_master or wish.strict):
        said.append("preempt_delay is dropped by nopreempt, state MASTER or strict mode")
        delay_us = 0
    return nopreempt, delay_us


def _down_timer(wish: Wish, said: list[str]) -> int:
    asked = DOWN_TIMER_ADVERTS if wish.down_timer_adverts is None else wish.down_timer_adverts
    if wish.strict and asked != DOWN_TIMER_ADVERTS:
        said.append("strict mode resets down_timer_adverts to 3")
        return DOWN_TIMER_ADVERTS
    if not 1 <= asked <= DOWN_TIMER_ADVERTS_MAX:
        said.append(f"down_timer_adverts {asked} is not in 1..100, using {DOWN_TIMER_ADVERTS}")
        return DOWN_TIMER_ADVERTS
    return asked
