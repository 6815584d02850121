"""What adverts a keepalived.conf asks for, to compare with those that are heard."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from risefall.config.keepalived import model
from risefall.evaluator.node import settings_of
from risefall.vrrp.senders import Own
from risefall.vrrp.settings import Auth, AuthType, Imitated, Peer


def own_instances(
    config: model.Config, interfaces: Collection[str], address: Callable[[str, int], str | None]
) -> list[Own]:
    """The instances that these interfaces can hear of. address: the primary one of an interface and a family, if it has one."""
    found = []
    for one in config.instances:
        if one.interface is not None and one.interface not in interfaces:
            continue
        here = address(one.interface, one.family) if one.interface is not None else None
        settings = msgspec.structs.replace(
            settings_of(one, here, Imitated.V2_2_7),
            auth=_auth(one),
            peers=tuple(Peer(peer.address, peer.min_ttl, peer.max_ttl) for peer in one.peers),
            check_unicast_src=one.check_unicast_src,
            skip_check_adv_addr=one.skip_check_adv_addr,
        )
        found.append(Own(settings, one.interface))
    return found


def groups_of(config: model.Config) -> list[str]:
    """Multicast groups that it names."""
    return [one.mcast_dst_ip for one in config.instances if one.mcast_dst_ip]


def _auth(one: model.Instance) -> Auth:
    if one.version != 2 or not one.auth_type or not one.auth_pass:
        return Auth()
    return Auth(kind=AuthType[one.auth_type], key=one.auth_pass.encode("utf-8", "surrogateescape")[:8])
