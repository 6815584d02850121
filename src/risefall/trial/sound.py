"""What a sound backend says to a set of check rules, in acts of the player; and how it says it wrong.

The rules decide: a reply is composed that fulfils them. What cannot be composed (a pattern too clever to be undone, TLS)
is `NotPlayed` with the reason, which is shown. Whether the reply really satisfies the rules is then asked of the real
probe, before anything is measured.
"""

from __future__ import annotations

import re
from enum import Enum
from http import HTTPStatus

import msgspec

from risefall.config.haproxy.model import (
    CheckKind,
    ConnectRule,
    Expect,
    ExpectRule,
    HttpSendRule,
    Match,
    RuleSet,
    TcpSendRule,
)
from risefall.config.haproxy.plan import PlannedServer
from risefall.engine.play import Act, Then, When, http_reply

AGENT_UP = b"up\n"
AGENT_DOWN = b"down # played\n"
PART = 4
"""A quarter of an answer: half of one may hold all that a pattern wants."""
WRONG = b"-ERR played\r\n"
STATUSES = (200, 204, 302, 401, 404, 500, 503)
BODIES = ("", "OK", "ok", "UP", "up", "healthy", "alive", "PONG", "true", '{"status":"UP"}')


class NotPlayed(Exception):
    """This check cannot be played; the text says why."""


class Fault(Enum):
    """How a backend is broken, by the word of `--faults`."""

    REFUSE = "refuse"
    DEAF = "deaf"
    RESET = "reset"
    SILENT = "silent"
    ERROR = "error"
    HALF = "half"
    DRIP = "drip"
    LATE = "late"
    OVERLOAD = "overload"
    AGENT = "agent"

    @property
    def words(self) -> str:
        return FAULT_WORDS[self]


FAULT_WORDS = {
    Fault.REFUSE: "the port refuses connections",
    Fault.DEAF: "SYNs are dropped",
    Fault.RESET: "accepted, then reset",
    Fault.SILENT: "accepted, then silence",
    Fault.ERROR: "a wrong answer (HTTP: status 503)",
    Fault.HALF: "the beginning of an answer, then FIN",
    Fault.DRIP: "the answer comes byte by byte, too slowly",
    Fault.LATE: "the answer comes after the timeout",
    Fault.OVERLOAD: "answers come one by one, slower the more wait",
    Fault.AGENT: "the agent says down",
}
USUAL = (
    Fault.REFUSE,
    Fault.DEAF,
    Fault.RESET,
    Fault.SILENT,
    Fault.ERROR,
    Fault.HALF,
    Fault.DRIP,
    Fault.LATE,
    Fault.AGENT,
)
"""Injected unless others are told. Not `overload`: whether it is a failure depends on how many check."""
CONNECT_ONLY = (Fault.REFUSE, Fault.DEAF)
"""All that a check which only connects can see."""


class Stance(msgspec.Struct, frozen=True):
    """How a listener behaves from now on. service_us: of one answer after another, 0 for no limit."""

    acts: tuple[Act, ...] = ()
    door_open: bool = True
    deaf: bool = False
    service_us: int = 0


def undo(pattern: str, candidates: tuple[str, ...] = BODIES) -> str:
    """A text that a regular expression finds something in. Raises NotPlayed."""
    plain = re.sub(r"\\(.)", r"\1", pattern.removeprefix("^").removesuffix("$"))
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise NotPlayed(f"its pattern '{pattern}' cannot be undone") from error
    for text in (plain, *candidates):
        if found.search(text):
            return text
    raise NotPlayed(f"no text is known that '{pattern}' matches")


def http_acts(rules: RuleSet) -> tuple[Act, ...]:
    """One reply that every expect rule is content with, to each request."""
    status, parts, headers = 200, list[str](), list[str]()
    for rule in rules.rules:
        if isinstance(rule, HttpSendRule) and rule.method == "CONNECT":
            raise NotPlayed("its request is a CONNECT")
        if not isinstance(rule, ExpectRule):
            continue
        match rule.kind:
            case Expect.STATUS:
                status = status_for(rule)
            case Expect.RSTATUS:
                good = [one for one in STATUSES if bool(re.search(rule.pattern, str(one))) is not rule.negate]
                if not good:
                    raise NotPlayed(f"no status is known for '{rule.pattern}'")
                status = good[0]
            case Expect.STRING if not rule.negate:
                parts.append(rule.pattern)
            case Expect.RSTRING if not rule.negate:
                parts.append(undo(rule.pattern))
            case Expect.HDR | Expect.FHDR if not rule.negate:
                headers.append(header_for(rule))
            case Expect.STRING_LF if not rule.negate:
                raise NotPlayed("what it expects is made of variables")
            case _:
                pass
    body = " ".join(parts).encode("utf-8", "surrogateescape")
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Played"
    return (Act(http_reply(status, reason, body, headers)),)


def status_for(rule: ExpectRule) -> int:
    """The first likely status that the rule accepts."""

    likely: list[int] = [*STATUSES, *(low for low, _ in rule.statuses), *range(200, 600)]
    for status in likely:
        if any(low <= status <= high for low, high in rule.statuses) is not rule.negate:
            return status
    raise NotPlayed("no status fulfils its rule")


def header_for(rule: ExpectRule) -> str:
    """A header line that the rule finds."""
    texts = []
    for wanted in (rule.name, rule.value):
        if wanted is None:
            texts.append("played")
        elif wanted.lf:
            raise NotPlayed("what it expects is made of variables")
        else:
            texts.append(undo(wanted.text) if wanted.match is Match.REG else wanted.text)
    return f"{texts[0]}: {texts[1]}"


def tcp_acts(rules: RuleSet) -> tuple[Act, ...]:
    """A dialogue: after what was sent comes what is expected. Empty: nothing is expected."""
    acts: list[Act] = []
    sent, talked = False, False
    for rule in rules.rules:
        if isinstance(rule, TcpSendRule):
            sent = talked = True
        elif isinstance(rule, ExpectRule):
            reply = expected_bytes(rule)
            if acts and not sent:
                acts[-1] = msgspec.structs.replace(acts[-1], reply=acts[-1].reply + reply)
            else:
                acts.append(Act(reply, When.BYTES if sent else When.ACCEPT, Then.NEXT))
            sent = False
    if not acts:
        return (Act(when=When.NEVER),) if talked else ()
    return (*acts[:-1], msgspec.structs.replace(acts[-1], then=Then.STAY))


def expected_bytes(rule: ExpectRule) -> bytes:
    if rule.negate:
        return b"played\r\n"
    match rule.kind:
        case Expect.STRING:
            return rule.pattern.encode("utf-8", "surrogateescape")
        case Expect.RSTRING:
            return undo(rule.pattern).encode("utf-8", "surrogateescape") + b"\r\n"
        case Expect.BINARY:
            return rule.data
        case Expect.RBINARY:
            plain = rule.pattern.strip("^$")
            if re.fullmatch("([0-9A-Fa-f]{2})+", plain):
                return bytes.fromhex(plain) + bytes(16)
    raise NotPlayed(f"what '{rule.kind.value} {rule.pattern}' wants cannot be undone")


MYSQL_GREETING = b"\x4a\0\0\0\x0a8.0.36\0" + b"x" * 66
MYSQL_OK = bytes.fromhex("0700000200000002000000")
LDAP_BOUND = bytes.fromhex("300c02010161070a010004000400")


def preset_acts(rules: RuleSet) -> tuple[Act, ...]:
    """What redis, MySQL and the like say when they are well."""
    match rules.kind:
        case CheckKind.REDIS:
            return (Act(b"+PONG\r\n", When.BYTES),)
        case CheckKind.MYSQL if rules.options:
            return (Act(MYSQL_GREETING, When.ACCEPT, Then.NEXT), Act(MYSQL_OK, When.BYTES))
        case CheckKind.MYSQL:
            return (Act(MYSQL_GREETING, When.ACCEPT),)
        case CheckKind.PGSQL:
            return (Act(bytes.fromhex("520000000800000000"), When.BYTES),)
        case CheckKind.SMTP:
            return (
                Act(b"220 played ESMTP\r\n", When.ACCEPT, Then.NEXT),
                Act(b"250 hello\r\n", When.BYTES, Then.NEXT),
                Act(b"221 bye\r\n", When.BYTES),
            )
        case CheckKind.LDAP:
            return (Act(LDAP_BOUND, When.BYTES),)
        case CheckKind.SSL_HELLO:
            return (Act(bytes.fromhex("160303002a") + bytes(42), When.BYTES),)
    raise NotPlayed(f"{rules.kind.value} is not played")


def acts_for(server: PlannedServer) -> tuple[Act, ...]:
    """The sound dialogue of a server's health check; empty where it only connects. Raises NotPlayed."""
    rules, settings = server.rules, server.config.settings
    if server.ssl:
        raise NotPlayed("the check speaks TLS")
    if server.send_proxy:
        raise NotPlayed("the check sends a PROXY header")
    if server.via_socks4:
        raise NotPlayed("the check goes through SOCKS4")
    if "h2" in (settings.check_proto, settings.proto):
        raise NotPlayed("the check speaks HTTP/2")
    connects = [rule for rule in rules.rules if isinstance(rule, ConnectRule)]
    if len(connects) > 1 or any(one.addr or one.port or one.port_expr or one.ssl or one.proto for one in connects):
        raise NotPlayed("its rules connect to a place of their own")
    if any(one.send_proxy for one in connects):
        raise NotPlayed("the check sends a PROXY header")
    match rules.kind:
        case CheckKind.EXTERNAL:
            raise NotPlayed("an external command goes where it likes")
        case CheckKind.TCP:
            return ()
        case CheckKind.TCP_CHECK:
            return tcp_acts(rules)
        case CheckKind.HTTP:
            return http_acts(rules)
    return preset_acts(rules)


def sound(acts: tuple[Act, ...]) -> Stance:
    return Stance(acts or (Act(when=When.NEVER),))


def visible(acts: tuple[Act, ...], agent: bool) -> tuple[Fault, ...]:
    """The faults that a check which is answered so can see."""
    if not any(act.when is not When.NEVER for act in acts):
        seen: tuple[Fault, ...] = CONNECT_ONLY
    else:
        seen = tuple(fault for fault in Fault if fault is not Fault.AGENT)
    return (*seen, Fault.AGENT) if agent else seen


def broken(fault: Fault, acts: tuple[Act, ...], timeout_ms: int) -> Stance:
    """How a backend that plays <acts> plays a fault. timeout_ms: what the check waits for an answer."""
    last = acts[-1] if acts else Act(when=When.NEVER)
    before = acts[:-1]
    replace = msgspec.structs.replace
    match fault:
        case Fault.REFUSE:
            return Stance(acts, door_open=False)
        case Fault.DEAF:
            return Stance(acts, door_open=False, deaf=True)
        case Fault.RESET:
            return Stance((Act(when=When.ACCEPT, then=Then.RST),))
        case Fault.SILENT:
            return Stance((Act(when=When.NEVER),))
        case Fault.ERROR:
            wrong = http_reply(503, "Service Unavailable") if last.when is When.REQUEST else WRONG
            return Stance((replace(acts[0], reply=wrong, then=Then.STAY),))
        case Fault.HALF:
            return Stance((*before, replace(last, reply=last.reply[: len(last.reply) // PART], then=Then.FIN)))
        case Fault.DRIP:
            return Stance((*before, replace(last, gap_ms=timeout_ms * 3 // 5 + 1)))
        case Fault.LATE:
            return Stance((*before, replace(last, delay_ms=timeout_ms + timeout_ms // 2)))
        case Fault.OVERLOAD:
            return Stance(acts, service_us=timeout_ms * 600)
    raise AssertionError(f"{fault} is no fault of a health check")
