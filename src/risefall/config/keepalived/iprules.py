"""Lines of `virtual_rules` and `static_rules`: their words, and the interfaces that a rule follows.

Source: man page keepalived.conf(5); observed with `keepalived -t` and the dump of 2.2.7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from risefall.config.keepalived import numbers
from risefall.config.keepalived.blocks import Walk
from risefall.config.keepalived.model import Line, Routing
from risefall.config.keepalived.routing import TABLES, TYPES, Dropped, Item, number_of, realms
from risefall.config.keepalived.words import strtol

U32 = numbers.UINT_MAX
U64 = numbers.ULONG_MAX
FIRST_PREFERENCE = 16384
"""What a rule without a preference gets, and one less for each further one of its family."""
SEVERAL = "Cannot specify more than one of table/nop/goto/blackhole/prohibit/unreachable{} for rule"
ACTIONS = ("blackhole", "unreachable", "prohibit")
IP_PROTOCOLS = (
    "icmp",
    "igmp",
    "ipip",
    "tcp",
    "udp",
    "dccp",
    "gre",
    "esp",
    "ah",
    "ipv6-icmp",
    "ospf",
    "sctp",
    "udplite",
)
RANGE = re.compile(r"\s*[0-9]+-\s*[0-9]+")
MARK = re.compile(r"\s*(0[xX][0-9a-fA-F]+|[0-9]+)(?:/(0[xX][0-9a-fA-F]+|[0-9]+))?")


class Preferences:
    """Those that 2.2.7 gives to rules without one; they go down through the whole file."""

    def __init__(self) -> None:
        self._next = {4: FIRST_PREFERENCE, 6: FIRST_PREFERENCE}

    def take(self, family: int) -> int:
        self._next[family] -= 1
        return self._next[family] + 1


class _Rule(Item):
    def __init__(self, walk: Walk, line: Line, groups: Sequence[str] | None) -> None:
        super().__init__(walk, line, "rule", groups)
        self.action = ""
        self.table = False
        self.of_table = ""
        """The last word that only rules with a table may have."""
        self.preference: int | None = None
        self.target = 0
        self.incoming = False


def read_rule(walk: Walk, line: Line, preferences: Preferences, groups: Sequence[str] | None = None) -> Routing | None:
    """One line; None when keepalived drops it. groups: the track groups of static rules. Raises Missing."""
    rule = _Rule(walk, line, groups)
    try:
        while rule.more:
            given = rule.word
            if given in WORDS:
                WORDS[given](rule)
            elif given == "track_group" and groups is not None:
                rule.track_group()
            else:
                _action(rule)
            rule.at += 1
        _judge(rule)
    except Dropped:
        return None
    done = rule.done()
    if rule.group and not rule.incoming:
        text = "Static rule cannot have track_group if dev/iif not specified"
        walk.warn(line, text, "add iif INTERFACE", 0)
        done = Routing(done.text, done.devices, None, done.place)
    if rule.preference is None:
        given_to = preferences.take(rule.family or 4)
        text = f"Rule has no preference specified - setting to {given_to}. This is probably not what you want."
        walk.warn(line, text, "add preference N", 0)
    return done


def _judge(rule: _Rule) -> None:
    if rule.action == "goto":
        if rule.preference is None:
            rule.drop(f"Invalid rule - goto target {rule.target} specified without preference", "add preference N")
        if rule.preference >= rule.target:
            rule.drop(f"Invalid rule - preference {rule.preference} >= goto target {rule.target}")
    if not rule.action:
        rule.drop("No action specified for rule - ignoring", "add table N, or one of nop, goto, blackhole ...")
    if rule.of_table and rule.action not in ("table", "l3mdev"):
        rule.drop("suppressor/realm specified for non table action - skipping")


# --- words --------------------------------------------------------------------------------------------------------------


def _family(rule: _Rule) -> None:
    six = rule.word == "inet6"
    rule.agree(6 if six else 4, "inet6 specified for IPv4 rule" if six else "inet specified for IPv6 rule")
    rule.at += 1  # 2.2.7 passes over the word behind it


def _network(rule: _Rule) -> None:
    side = rule.word
    rule.take()
    family = rule.network(f"Invalid rule {side} address {{value}}")
    if family:
        rule.agree(family, "rule specification has mixed IPv4 and IPv6")


def _act(rule: _Rule, action: str, also: str = "") -> None:
    if rule.action:
        rule.drop(SEVERAL.format(also), "keep one")
    rule.action = action


def _table(rule: _Rule) -> None:
    if not rule.name("rt_tables", TABLES, U32, "Routing table {value} not found for rule"):
        rule.drop("Table 0 is not valid")
    _act(rule, "table")


def _preference(rule: _Rule) -> None:
    word = rule.word
    given = rule.take()
    value, end = strtol(given)
    hexadecimal = end == len(given) and given[:1] == "0" and 0 <= value <= U32
    read = numbers.Number(value) if hexadecimal else numbers.unsigned(given, 0, U32, lenient=False)
    rule.preference = rule.walk.judge(rule.line, rule.at, read, f"Invalid rule preference {word} specified")
    if rule.preference is None:
        raise Dropped


def _tos(rule: _Rule) -> None:
    rule.name("rt_dsfield", {}, 255, "TOS value {value} is invalid")


def _mark(rule: _Rule) -> None:
    given = rule.take()
    found = MARK.fullmatch(given)
    if not found or any(part and strtol(part)[0] > U32 for part in found.groups()):
        rule.drop(f"Invalid rule fwmark {given} specified", "write MARK or MARK/MASK")


def _realms(rule: _Rule) -> None:
    given = rule.take()
    if not realms(given):
        rule.drop(f"invalid realms {given} for rule")
    rule.of_table = "realms"
    rule.agree(4, "realms is only valid for IPv4")


def _length(rule: _Rule) -> None:
    rule.of_table = rule.word
    rule.number(0, numbers.INT_MAX, f"Invalid suppress_prefixlength {rule.word} specified")


def _group(rule: _Rule) -> None:
    rule.of_table = rule.word
    rule.name("group", {"default": 0}, U32, "suppress_group {value} is invalid")


def _device(rule: _Rule) -> None:
    rule.incoming = rule.incoming or rule.word != "oif"
    rule.devices.append(rule.take())


def _tunnel(rule: _Rule) -> None:
    rule.number(0, U64, f"Invalid tunnel-id {rule.word} specified")


def _users(rule: _Rule) -> None:
    word = rule.word
    if not RANGE.match(rule.take()):
        rule.drop(f"Invalid uidrange {word} specified", "write FIRST-LAST")


def _l3mdev(rule: _Rule) -> None:
    if rule.action:
        rule.drop("Cannot specify l3mdev with other action", "keep one")
    rule.action = "l3mdev"


def _protocol(rule: _Rule) -> None:
    given = rule.take()
    read = numbers.unsigned(given, 0, 255)
    rule.protocol = rule.walk.judge(rule.line, rule.at, read, f"Invalid protocol {given}")


def _ip_protocol(rule: _Rule) -> None:
    given = rule.take()
    known = given in IP_PROTOCOLS or given.lower() in IP_PROTOCOLS
    if not known and number_of(given, "", {}, 255) is None:
        rule.say(f"Invalid ipproto {given}", "write a number, or a name such as udp")


def _ports(rule: _Rule) -> None:
    side = rule.word
    if not RANGE.match(rule.take()):
        rule.say(f"invalid {side} range {rule.word}", "write FIRST-LAST: 2.2.7 takes no single port")


def _untracked(rule: _Rule) -> None:
    rule.tracked = False


def _flag(rule: _Rule) -> None:
    """A word alone, which is only passed on to the kernel."""


def _action(rule: _Rule) -> None:
    if rule.word == "type":
        rule.take()
    given = rule.word
    if given == "goto":
        rule.target = rule.number(0, U32, f"Invalid target {given} specified")
    elif given != "nop" and given not in ACTIONS:
        known = number_of(given, "", TYPES, 255) is not None
        rule.drop(f"{'Invalid rule action' if known else 'Unknown rule option'} {given}")
    _act(rule, given, "/l3mdev")


WORDS: dict[str, Callable[[_Rule], None]] = {
    "inet": _family,
    "inet6": _family,
    "from": _network,
    "to": _network,
    "table": _table,
    "lookup": _table,
    "not": _flag,
    "preference": _preference,
    "order": _preference,
    "priority": _preference,
    "tos": _tos,
    "dsfield": _tos,
    "fwmark": _mark,
    "realms": _realms,
    "suppress_prefixlength": _length,
    "sup_pl": _length,
    "suppress_ifgroup": _group,
    "sup_group": _group,
    "dev": _device,
    "iif": _device,
    "oif": _device,
    "tunnel-id": _tunnel,
    "uidrange": _users,
    "l3mdev": _l3mdev,
    "protocol": _protocol,
    "ipproto": _ip_protocol,
    "sport": _ports,
    "dport": _ports,
    "no_track": _untracked,
}
