"""`use_vmac` and `use_ipvlan`: an interface of its own for an instance, as their words say, and what excludes what.

Source: man page keepalived.conf(5); observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from risefall.config.keepalived.addresses import plain_address
from risefall.config.keepalived.blocks import Draft, Walk
from risefall.config.keepalived.model import Line

NAME_MAX = 15
MAC = re.compile(r"[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{1,2}){4,5}")
VRRP_MAC = re.compile(r"0?0:0?0:5[eE]:0?0:0?[12]:.*")
"""Those of RFC 5798, which keepalived makes itself."""
IPVLAN_TYPES = ("bridge", "private", "vepa")
Say = Callable[[str, str, str], None]
"""The keyword whose line it is about, the message, the help."""


def read_vmac(walk: Walk, line: Line) -> None:
    """`use_vmac [NAME] [MAC]`."""
    values = walk.draft.values
    walk.set(line, "use_vmac", True)
    for at, given in enumerate(line.words[1:], 1):
        if ":" in given:
            _mac(walk, line, at, given)
        elif values.get("vmac_name"):
            walk.warn(line, "VMAC interface name already specified", "write one name", at)
        elif len(given) > NAME_MAX or "/" in given or any(map(str.isspace, given)) or given in ("", ".", ".."):
            text = f"VMAC interface name '{given}' too long or invalid characters - ignoring"
            walk.warn(line, text, f"the most are {NAME_MAX} characters", at)
        else:
            values["vmac_name"] = given


def _mac(walk: Walk, line: Line, at: int, given: str) -> None:
    values = walk.draft.values
    if values.get("vmac_address"):
        walk.warn(line, "VMAC interface address already specified", "write one address", at)
    elif not MAC.fullmatch(given):
        walk.warn(line, f"VMAC invalid MAC address {given} - ignored", "write six pairs of hexadecimal digits", at)
    elif int(given.partition(":")[0], 16) & 1:
        walk.warn(line, f"VMAC MAC address is multicast {given} - ignoring", "write an address of one machine", at)
    elif VRRP_MAC.fullmatch(given):
        text = f"VMAC MAC address not allowed to be RFC5798 address ({given}) - ignoring"
        walk.warn(line, text, "take it out: keepalived makes these itself", at)
    else:
        values["vmac_address"] = given


def read_ipvlan(walk: Walk, line: Line) -> None:
    """`use_ipvlan [NAME] [ADDRESS] [TYPE]`."""
    draft = walk.draft
    values, name = draft.values, draft.name
    if values.get("use_ipvlan"):
        walk.warn(line, f"({name}) use_ipvlan already specified", "write it once", 0)
        return
    walk.set(line, "use_ipvlan", True)
    for at, given in enumerate(line.words[1:], 1):
        family = plain_address(given.partition("/")[0])
        kind = "type" if given in IPVLAN_TYPES else "address" if family else "interface"
        if values.get(f"ipvlan_{kind}"):
            what = "IPVLAN interface" if kind == "interface" else f"ipvlan {kind}"
            walk.warn(line, f"({name}) {what} already specified - ignoring '{given}'", f"write one {kind}", at)
        elif family and values["family"] not in (0, family):
            text = f"({name}) ipvlan address[{given}] MUST match vrrp instance family !!! Skipping..."
            walk.warn(line, text, "use addresses of one family", at)
        elif kind == "interface" and len(given) > NAME_MAX:
            text = f"({name}) IPVLAN interface name '{given}' too long - ignoring"
            walk.warn(line, text, f"the most are {NAME_MAX} characters", at)
        else:
            values[f"ipvlan_{kind}"] = given
            values["family"] = values["family"] or family


def unicast_needs_base(walk: Walk, draft: Draft) -> None:
    """At the end of an instance: unicast leaves by the interface below."""
    values = draft.values
    own = values.get("use_vmac") or values.get("use_ipvlan")
    if own and values.get("peers") and not values.get("vmac_xmit_base"):
        text = f"({draft.name}) unicast with use_vmac requires vmac_xmit_base - setting"
        walk.warn(draft.at("peers"), text, "add vmac_xmit_base")
        values["vmac_xmit_base"] = True


def judge(draft: Draft, say: Say) -> None:
    """What does not go together, and what leaves the instance at FAULT."""
    values = draft.values
    if values.get("vmac_xmit_base") and not values.get("use_vmac"):
        say("vmac_xmit_base", "vmac_xmit_base is only valid with a vmac", "add use_vmac, or take it out")
    for vip in (*values.get("vips", ()), *values.get("excluded", ())):
        shown = f"VIP/eVIP {vip.address}/{vip.prefix}"
        if vip.use_vmac and values.get("use_vmac") and vip.dev in (None, values.get("interface")):
            say("use_vmac", f"use_vmac specified for {shown} and vrrp instance", "take it out of the address")
        elif vip.use_vmac and values.get("use_vmac_addr"):
            text = f"use_vmac_addr specified and use_vmac specified for {shown}"
            say("use_vmac_addr", text, "take it out of the address")
    if not values.get("use_vmac") and not values.get("use_ipvlan"):
        return
    if values.get("promote_secondaries"):
        say("promote_secondaries", "promote_secondaries is automatically set for vmacs - ignoring", "take it out")
    if values["strict"] and values.get("vmac_xmit_base"):
        say("vmac_xmit_base", "xmit_base is incompatible with strict mode - resetting", "take one of the two out")
    if values.get("use_ipvlan") and values["family"] == 4 and not values.get("ipvlan_address"):
        text = "IPv4 ipvlan requires a source ip address to be configured. setting instance to fault state"
        say("use_ipvlan", text, "write the address behind use_ipvlan")
        values["broken"] = True
