"""Lines of addresses: virtual and static ones, unicast peers.

Source: spec/keepalived-track.md §7.3; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

import ipaddress

from risefall.config.keepalived import numbers
from risefall.config.keepalived.blocks import Values, Walk
from risefall.config.keepalived.model import Line, Peer, Place, Vip
from risefall.config.keepalived.trackers import is_address

FLAGS = ("home", "-nodad", "mngtmpaddr", "noprefixroute", "autojoin", "no_track")
VALUED = ("dev", "scope", "broadcast", "brd", "label", "peer", "preferred_lft")
SCOPES = {"host": 254, "link": 253, "global": 0, "site": 200, "nowhere": 255}
LABEL_MAX = 15
BROADCAST_PREFIX_MAX = 30


class _Dropped(Exception):
    """The address is not taken."""


def plain_address(text: str) -> int:
    """4 or 6 for a numeric address and nothing else, 0 for the rest."""
    try:
        return ipaddress.ip_address(text).version if "%" not in text else 0
    except ValueError:
        return 0


def read_vip(walk: Walk, line: Line, *, static: bool = False, groups: tuple[str, ...] = ()) -> Vip | None:
    """`ADDRESS[/LENGTH] [dev IF] …`; None when keepalived drops it."""
    given = line.words[0]
    text, slash, length = given.partition("/")
    family = plain_address(text)
    prefix = _prefix(walk, line, given, length, 128 if ":" in given else 32) if slash else 128 if ":" in given else 32
    if not family:
        walk.warn(
            line, f"VRRP parsed invalid IP {given}. skipping IP...", "write a numeric address, such as 10.0.0.1/24", 0
        )
        return None
    values: Values = {"options": ()}
    try:
        _options(walk, line, family, values, static=static, groups=groups)
    except _Dropped:
        return None
    prefix = values.pop("prefix", prefix)
    if "broadcast" in values and "peer" in values:
        text_ = "Cannot specify broadcast and peer addresses - ignoring broadcast address"
        walk.warn(line, text_, "take one of the two out", 0)
        del values["broadcast"]
    if values.get("broadcast") in ("-", "+") and prefix > BROADCAST_PREFIX_MAX:
        text_ = f"Address prefix length {prefix} too long for broadcast"
        walk.warn(
            line, text_, f"write a length of {BROADCAST_PREFIX_MAX} at the most, or take {values['broadcast']} out", 0
        )
        del values["broadcast"]
    for option in ("scope", "label") if family == 6 else ():
        if values.pop(option, None):
            text_ = f"Cannot specify {option} for IPv6 addresses ({given}) - ignoring {option}"
            walk.warn(line, text_, "take it out", 0)
    return Vip(text, prefix, family, place=Place(line.file, line.line), **values)


def _prefix(walk: Walk, line: Line, given: str, length: str, longest: int) -> int:
    message = f"Invalid address prefix len {length} for address {given} - using {longest}"
    value = walk.judge(line, 0, numbers.unsigned(length, 0, longest), message)
    return longest if value is None else value


def _options(walk: Walk, line: Line, family: int, values: Values, *, static: bool, groups: tuple[str, ...]) -> None:
    given, words = line.words[0], line.words
    valued = (*VALUED, "track_group") if static else VALUED
    at = 1
    while at < len(words):
        option = words[at]
        if option in valued:
            if at + 1 >= len(words):
                walk.warn(
                    line, f"No {option} parameter specified for {given}", "the address is dropped: write one", at + 1
                )
                raise _Dropped
            _valued(walk, line, at, family, values, groups)
            at += 2
            continue
        if option in FLAGS:
            values["options"] += (option,)
            if option == "no_track":
                values["no_track"] = True
        elif option == "use_vmac" and not static:
            values["use_vmac"] = True
        else:
            text = f"Unknown configuration entry '{option}' for ip address - ignoring"
            walk.warn(line, text, "write one address a line, with dev, scope, label and the like behind it", at)
        at += 1


def _valued(walk: Walk, line: Line, at: int, family: int, values: Values, groups: tuple[str, ...]) -> None:
    given, option, value = line.words[0], line.words[at], line.words[at + 1]

    def drop(message: str, help: str) -> None:
        walk.warn(line, message, help, at + 1)
        raise _Dropped

    match option:
        case "dev":
            if "dev" in values:
                drop(f"Cannot specify ipaddress device more than once for {given}", "the address is dropped: keep one")
            values["dev"] = value
        case "scope":
            if value in SCOPES or (value.isdigit() and int(value[:4]) < 256):
                values["scope"] = value
            else:
                walk.warn(
                    line, f"Invalid scope '{value}' specified for {given} - ignoring", "write global or link", at + 1
                )
        case "broadcast" | "brd":
            if family == 6:
                text = f"VRRP is trying to assign a broadcast {option} to the IPv6 address {given} !!?? WTF... skipping VIP..."
                drop(text, "IPv6 has no broadcast: take it out")
            if value not in ("-", "+") and plain_address(value) != 4:
                drop(f"VRRP is trying to assign invalid broadcast {value}. skipping VIP...", "write an address, + or -")
            values["broadcast"] = value
        case "label":
            if len(value) > LABEL_MAX:
                text = f"Address label {value} is longer than maximum length {LABEL_MAX} - removing address"
                drop(text, "shorten the label")
            values["label"] = value
        case "peer":
            _peer_of(walk, line, at, family, values)
        case "preferred_lft":
            if value != "forever":
                read = numbers.unsigned(value, 0, numbers.UINT_MAX)
                if walk.judge(line, at + 1, read, f"preferred_lft {value} is invalid") is None:
                    return
            values["preferred_lft"] = value
        case _:
            if value in groups:
                values["track_group"] = value
            else:
                walk.warn(line, f"track_group {value} not found", "define the track_group above this line", at + 1)


def _peer_of(walk: Walk, line: Line, at: int, family: int, values: Values) -> None:
    value = line.words[at + 1]
    if "peer" in values:
        walk.warn(line, f"Peer {value} - another peer has already been specified", "take one out", at + 1)
        return
    found = plain_address(value)
    if not found:
        walk.warn(line, f"VRRP parsed invalid IP {value}. skipping IP...", "write an address without a length", at + 1)
        walk.warn(line, f"Invalid peer address {value}", "write a numeric address", at + 1)
    elif found != family:
        walk.warn(line, f"Peer address {value} does not match address family", "use one family", at + 1)
    else:
        if "/" in line.words[0] and not line.words[0].endswith(("/32", "/128")):
            walk.warn(line, "Cannot specify address prefix when specifying peer address - ignoring", "take it out", 0)
        values["peer"] = value
        values["prefix"] = 32 if family == 4 else 128


def read_peer(walk: Walk, line: Line, family: int) -> Peer | None:
    """One line of `unicast_peer`. family: of the instance so far, 0 for none."""
    given, name = line.words[0], walk.draft.name
    found = is_address(given)
    if not found:
        text = f"Configuration error: VRRP instance[{name}] malformed unicast peer address[{given}]. Skipping..."
        walk.warn(line, text, "write a numeric address", 0)
        return None
    if family and found != family:
        text = (
            f"Configuration error: VRRP instance[{name}] and unicast peer address[{given}] MUST be of the same family !!!"
            " Skipping..."
        )
        walk.warn(line, text, "use addresses of one family", 0)
        return None
    limits = {"min_ttl": 0, "max_ttl": 255}
    for at in range(1, len(line.words), 2):
        option = line.words[at]
        if at + 1 >= len(line.words):
            walk.warn(line, f"({name}) {option} is missing a value", "write a number behind it", at + 1)
            break
        read = numbers.unsigned(line.words[at + 1], 0, 255, lenient=False)
        value = walk.judge(line, at + 1, read, read.complaint)
        if value is None:
            continue
        if option not in limits:
            walk.warn(line, f"({name}) unknown unicast_peer option {option}", "write min_ttl or max_ttl", at)
            break
        limits[option] = value
        walk.draft.values["check_unicast_src"] = True
    if limits["min_ttl"] > limits["max_ttl"]:
        text = f"({name}) min_ttl {limits['min_ttl']} > max_ttl {limits['max_ttl']} - all packets will be discarded"
        walk.warn(line, text, "write min_ttl below max_ttl", 0)
    plain = given.partition("-")[0].partition("/")[0]
    return Peer(plain, found, place=Place(line.file, line.line), **limits)
