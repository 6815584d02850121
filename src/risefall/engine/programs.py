"""Rule sets of the configuration to check programs of the native machine, or the reason why not yet.

A program is immutable and shared by every server with the same rules. What can be known now is decided now: the bytes of
a request, the default rule, status numbers. Source: spec/haproxy-checks.md §3.2, §3.8, §3.9, §4.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import msgspec

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import CheckKind, Expect, ExpectRule, HeaderMatch, HttpSendRule, Match, Rule, RuleSet
from risefall.engine import native
from risefall.engine._native import ffi, lib
from risefall.errors import NativeError
from risefall.status import Status

BODILESS_METHODS = frozenset(("OPTIONS", "GET", "HEAD", "DELETE"))
FORMAT = re.compile(r"%(?!%)")
VERSION_11 = re.compile(r"HTTP/(?:[2-9]\.?.|1\.[1-9]|2)", re.DOTALL)
EXPECTS = {
    Expect.STATUS: lib.RF_EXP_HTTP_STATUS,
    Expect.RSTATUS: lib.RF_EXP_HTTP_RSTATUS,
    Expect.STRING: lib.RF_EXP_HTTP_STRING,
    Expect.RSTRING: lib.RF_EXP_HTTP_RSTRING,
    Expect.HDR: lib.RF_EXP_HTTP_HDR,
    Expect.FHDR: lib.RF_EXP_HTTP_FHDR,
}
MATCHES = {
    Match.STR: lib.RF_MATCH_STR,
    Match.BEG: lib.RF_MATCH_BEG,
    Match.END: lib.RF_MATCH_END,
    Match.SUB: lib.RF_MATCH_SUB,
    Match.REG: lib.RF_MATCH_REG,
}
REGEX_EXPECTS = frozenset((Expect.RSTATUS, Expect.RSTRING))
DEFAULT_STATUSES = ((200, 399),)


class NotChecked(Exception):
    """This rule set cannot be run by the native machine; the text says why."""


class _Rule(msgspec.Struct):
    """One native rule before it is laid out."""

    kind: int
    step: int
    flags: int = 0
    expect: int = 0
    port: int = 0
    name_match: int = 0
    value_match: int = 0
    ok_status: int = 0
    error_status: int = 0
    tout_status: int = 0
    min_recv: int = -1
    segments: list[tuple[int, bytes]] = []
    pattern: bytes = b""
    name: bytes = b""
    value: bytes = b""
    comment: bytes = b""
    on_success: bytes = b""
    on_error: bytes = b""


def raw(text: str) -> bytes:
    """Configuration text as the bytes of the file."""
    return text.encode("utf-8", "surrogateescape")


def literal(text: str, what: str) -> bytes:
    """The bytes of a log-format string that formats nothing. Raises NotChecked when it does."""
    if FORMAT.search(text.replace("%%", "")):
        raise NotChecked(f"log-format expressions in {what} are not supported yet")
    return raw(text.replace("%%", "%"))


def status_number(name: str) -> int:
    """0 for an empty name: the rule's default."""
    return Status[name.upper()] if name else 0


# --- HTTP --------------------------------------------------------------------------------------------


def request_segments(rule: HttpSendRule, send_state: bool) -> list[tuple[int, bytes]]:
    """What HAProxy writes for one `http-check send`: names in lower case, its own headers last (spec §3.8)."""
    uri = literal(rule.uri, "http-check send uri") if rule.uri_lf else raw(rule.uri)
    body = literal(rule.body, "http-check send body") if rule.body_lf else raw(rule.body)
    modern = VERSION_11.fullmatch(rule.version) is not None
    version = b"HTTP/1.1" if modern else raw(rule.version)
    head = raw(rule.method) + b" " + uri + (b" " + version if version else b"") + b"\r\n"
    own_connection = False
    for header in rule.headers:
        name = header.name.lower()
        value = literal(header.value, f"http-check send hdr {header.name}")
        if name in ("content-length", "transfer-encoding") or not value:
            continue
        if name == "connection" and modern:
            own_connection = value.lower() == b"keep-alive"
            continue
        head += raw(name) + b": " + value + b"\r\n"
    tail = b""
    if body or rule.method not in BODILESS_METHODS:
        tail += b"content-length: %d\r\n" % len(body)
    if modern and not own_connection:
        tail += b"connection: close\r\n"
    tail += b"\r\n" + body
    if not send_state:
        return [(lib.RF_SEG_LITERAL, head + tail)]
    return [
        (lib.RF_SEG_LITERAL, head + b"x-haproxy-server-state: "),
        (lib.RF_SEG_STATE, b""),
        (lib.RF_SEG_SITE, b""),
        (lib.RF_SEG_WEIGHT, b""),
        (lib.RF_SEG_LITERAL, b"/"),
        (lib.RF_SEG_TOTAL, b""),
        (lib.RF_SEG_LITERAL, b"; scur=0/0; qcur=0\r\n" + tail),
    ]


def header_half(half: HeaderMatch | None, what: str) -> tuple[int, bytes]:
    """Match method and pattern; no half at all is RF_MATCH_NONE."""
    if half is None:
        return lib.RF_MATCH_NONE, b""
    return MATCHES[half.match], literal(half.text, what) if half.lf else raw(half.text)


def expect_rule(rule: ExpectRule) -> _Rule:
    """One `http-check expect`."""
    if rule.kind not in EXPECTS:
        raise NotChecked(f"http-check expect {rule.kind.value} is not supported yet")
    if rule.status_code:
        raise NotChecked("http-check expect status-code is not supported yet")
    if rule.kind is Expect.STATUS:
        pattern = b"".join(struct.pack("=ii", low, high) for low, high in rule.statuses)
    else:
        pattern = raw(rule.pattern)
    if (rule.kind in REGEX_EXPECTS or any(h and h.match is Match.REG for h in (rule.name, rule.value))) and (
        not native.has_regex()
    ):
        raise NotChecked("this build has no regular expressions: install libpcre2-dev and build risefall again")
    name_match, name = header_half(rule.name, "http-check expect hdr name")
    value_match, value = header_half(rule.value, "http-check expect hdr value")
    return _Rule(
        kind=lib.RF_RULE_EXPECT,
        step=rule.step,
        flags=lib.RF_RULE_NEGATE if rule.negate else 0,
        expect=EXPECTS[rule.kind],
        name_match=name_match,
        value_match=value_match,
        ok_status=status_number(rule.ok_status),
        error_status=status_number(rule.error_status),
        tout_status=status_number(rule.tout_status),
        min_recv=rule.min_recv,
        pattern=pattern,
        name=name,
        value=value,
        comment=raw(rule.comment),
        on_success=literal(rule.on_success, "on-success"),
        on_error=literal(rule.on_error, "on-error"),
    )


def http_rules(rules: RuleSet) -> list[_Rule]:
    """The rules of an httpchk: an implicit connect first, an implicit `status 200-399` after a last send."""
    if sum(isinstance(rule, HttpSendRule) for rule in rules.rules) > 1:
        raise NotChecked("several http-check send rules are not supported yet")
    out = [connect_rule()]
    for rule in rules.rules:
        out.append(http_rule(rule, rules.send_state))
    if out[-1].kind == lib.RF_RULE_SEND:
        pattern = b"".join(struct.pack("=ii", low, high) for low, high in DEFAULT_STATUSES)
        out.append(_Rule(lib.RF_RULE_EXPECT, out[-1].step + 1, expect=lib.RF_EXP_HTTP_STATUS, pattern=pattern))
    return out


def http_rule(rule: Rule, send_state: bool) -> _Rule:
    """One rule of an httpchk. Raises NotChecked for the part of the language that is not supported yet."""
    match rule:
        case HttpSendRule():
            return _Rule(lib.RF_RULE_SEND, rule.step, segments=request_segments(rule, send_state))
        case ExpectRule():
            return expect_rule(rule)
        case _:
            word = getattr(rule, "word", "connect")
            raise NotChecked(f"http-check {word} is not supported yet")


# --- everything ----------------------------------------------------------------------------------------


def connect_rule() -> _Rule:
    """The connect that no rule asked for: step 0."""
    return _Rule(lib.RF_RULE_CONNECT, 0, lib.RF_RULE_IMPLICIT)


def agent_rules(send: str) -> list[_Rule]:
    """Connect, say what `agent-send` says, read one line. The line is step 2 in messages, with or without a send."""
    sends = [_Rule(lib.RF_RULE_SEND, 1, segments=[(lib.RF_SEG_LITERAL, raw(send))])] if send else []
    return [connect_rule(), *sends, _Rule(lib.RF_RULE_EXPECT, 2, expect=lib.RF_EXP_AGENT)]


def dialect_flags(dialect: Dialect) -> int:
    """The texts in which the two HAProxys differ, as bits."""
    flags = 0
    if dialect.os_errno_text:
        flags |= lib.RF_PROG_OS_ERRNO_TEXT
    if dialect.no_reason_text:
        flags |= lib.RF_PROG_NO_REASON_TEXT
    if dialect.agent_weight_word:
        flags |= lib.RF_PROG_AGENT_WEIGHT
    if dialect.bare_comment:
        flags |= lib.RF_PROG_BARE_COMMENT
    if dialect.hex_pattern:
        flags |= lib.RF_PROG_HEX_PATTERN
    return flags


def lay_out(rules: list[_Rule], flags: int, bufsize: int) -> native.Program:
    """Puts rules, segments and texts into the arrays that C copies. Raises NotChecked with C's reason."""
    blob = bytearray()
    segments: list[tuple[int, tuple[int, int]]] = []

    def span(text: bytes) -> tuple[int, int]:
        at = len(blob)
        blob.extend(text)
        return at, len(text)

    out = ffi.new("rf_rule[]", len(rules))
    for target, rule in zip(out, rules, strict=True):
        for name in (
            "kind", "step", "flags", "expect", "port", "name_match", "value_match", "ok_status", "error_status",
            "tout_status", "min_recv",
        ):  # fmt: skip
            setattr(target, name, getattr(rule, name))
        for name in ("pattern", "name", "value", "comment", "on_success", "on_error"):
            place = getattr(target, name)
            place.at, place.len = span(getattr(rule, name))
        target.segment, target.segments = len(segments), len(rule.segments)
        segments.extend((kind, span(text)) for kind, text in rule.segments)
    laid = ffi.new("rf_segment[]", len(segments))
    for target, (kind, (at, length)) in zip(laid, segments, strict=True):
        target.kind, target.text.at, target.text.len = kind, at, length
    try:
        return native.Program(out, laid, bytes(blob), flags, bufsize)
    except NativeError as error:
        raise NotChecked(str(error)) from error


class Compiler:
    """Makes each distinct program once. One for each configuration that is loaded."""

    def __init__(self, dialect: Dialect, bufsize: int) -> None:
        self.flags = dialect_flags(dialect)
        self.bufsize = bufsize
        self._made: dict[tuple[str, int | str], native.Program | NotChecked] = {}
        self._kept: list[RuleSet] = []  # keeps ids of `_made` from being used again

    def health(self, rules: RuleSet) -> native.Program:
        """The program of a rule set. Raises NotChecked."""
        key = ("health", id(rules))
        if key not in self._made:
            self._kept.append(rules)
        return self._once(key, lambda: self._health(rules))

    def agent(self, send: str) -> native.Program:
        """The program of an agent-check. Raises NotChecked."""
        return self._once(
            ("agent", send), lambda: lay_out(agent_rules(send), self.flags | lib.RF_PROG_AGENT, self.bufsize)
        )

    def _once(self, key: tuple[str, int | str], make: Callable[[], native.Program]) -> native.Program:
        if key not in self._made:
            try:
                self._made[key] = make()
            except NotChecked as why:
                self._made[key] = why
        made = self._made[key]
        if isinstance(made, NotChecked):
            raise made
        return made

    def _health(self, rules: RuleSet) -> native.Program:
        if rules.kind is CheckKind.TCP or (rules.kind is CheckKind.TCP_CHECK and not rules.rules):
            return lay_out(
                [connect_rule()],
                self.flags | (rules.kind is CheckKind.TCP_CHECK and lib.RF_PROG_TCPCHECK),
                self.bufsize,
            )
        if rules.kind is CheckKind.HTTP:
            flags = self.flags | lib.RF_PROG_HTTP | (lib.RF_PROG_DISABLE404 if rules.disable_on_404 else 0)
            return lay_out(http_rules(rules), flags, self.bufsize)
        option = {CheckKind.TCP_CHECK: "tcp-check rules", CheckKind.EXTERNAL: "external-check"}.get(
            rules.kind, f"{rules.kind.value}-check"
        )
        raise NotChecked(f"{option}: not supported yet")
