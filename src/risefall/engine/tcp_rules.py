"""`tcp-check` rules, and the connect, expect and variable rules that both languages share, as native rules.

Source: spec/haproxy-checks.md §2.5-§2.7, §3.2, §3.6, §3.7.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from risefall.config.haproxy.model import ConnectRule, Expect, ExpectRule, Rule, TcpSendRule, VarRule
from risefall.engine import native
from risefall.engine._native import ffi, lib
from risefall.engine.formats import Formats
from risefall.engine.layout import NativeRule, NotChecked, alpn_wire, raw, text_op
from risefall.engine.names import Found, Unresolved, endpoint
from risefall.engine.samples import conditions_of
from risefall.status import Status

TCP_EXPECTS = {
    Expect.STRING: lib.RF_EXP_STRING,
    Expect.RSTRING: lib.RF_EXP_REGEX,
    Expect.BINARY: lib.RF_EXP_BINARY,
    Expect.RBINARY: lib.RF_EXP_BINARY_REGEX,
    Expect.STRING_LF: lib.RF_EXP_STRING_LF,
    Expect.BINARY_LF: lib.RF_EXP_BINARY_LF,
}
REGEX_EXPECTS = frozenset((Expect.RSTATUS, Expect.RSTRING, Expect.RBINARY))


def status_number(name: str) -> int:
    """0 for an empty name: the rule's default."""
    return Status[name.upper()] if name else 0


def implicit_connect() -> NativeRule:
    """The connect that no rule asked for: step 0, with all that the server line says."""
    return NativeRule(lib.RF_RULE_CONNECT, 0, lib.RF_RULE_IMPLICIT)


def need_regex() -> None:
    """Raises NotChecked where this build has no regular expressions."""
    if not native.has_regex():
        raise NotChecked("this build has no regular expressions: install libpcre2-dev and build risefall again")


def address_bytes(rule: ConnectRule, found: Found) -> bytes:
    """The `addr` of a connect rule as an `rf_address`. Raises NotChecked when its name has no address."""
    if rule.addr is None:
        return b""
    to = endpoint(rule.addr, 0 if rule.addr.mapped else rule.addr.port, found)
    if isinstance(to, Unresolved):
        raise NotChecked(f"connect addr {rule.addr.host}: {to.why}")
    made = ffi.new("rf_address *")
    native.fill_address(made, to)
    return bytes(ffi.buffer(made))


def connect_rule(rule: ConnectRule, formats: Formats, found: Found) -> NativeRule:
    """`connect`; what it does not name it has not, unless it says `default` (spec §2.6)."""
    layers = (
        (lib.RF_LAYER_TLS if rule.ssl else 0)
        | (lib.RF_LAYER_PROXY_V1 if rule.send_proxy else 0)
        | (lib.RF_LAYER_SOCKS4 if rule.via_socks4 else 0)
    )
    return NativeRule(
        lib.RF_RULE_CONNECT,
        rule.step,
        (lib.RF_RULE_LINGER if rule.linger else 0) | (lib.RF_RULE_DEFAULT if rule.default else 0),
        port=rule.port,
        layers=layers,
        format=formats.expression(rule.port_expr, "connect port") if rule.port_expr else (),
        address=address_bytes(rule, found),
        sni=raw(rule.sni),
        alpn=alpn_wire(rule.alpn),
        comment=raw(rule.comment),
    )


def variable_rule(rule: VarRule, formats: Formats) -> NativeRule:
    """`set-var(name) expr`, `set-var-fmt(name) fmt`, `unset-var(name)`."""
    name, *words = rule.name.split(",")
    if words and rule.word == "unset-var":
        raise NotChecked(f"unset-var({rule.name}): takes no condition")
    conditions = conditions_of(words, f"{rule.word}({rule.name})")
    number = formats.writable(name)
    if rule.word == "unset-var":
        return NativeRule(lib.RF_RULE_UNSET, rule.step, variable=number)
    if rule.word == "set-var-fmt":
        made = formats.format(rule.expr, "set-var-fmt")
        return NativeRule(
            lib.RF_RULE_SET, rule.step, lib.RF_RULE_TEXT, variable=number, conditions=conditions, format=made
        )
    made = formats.expression(formats.continued(rule.expr, rule.more), "set-var")
    return NativeRule(lib.RF_RULE_SET, rule.step, variable=number, conditions=conditions, format=made)


def send_rule(rule: TcpSendRule, formats: Formats) -> NativeRule:
    """`send`, `send-binary` and their -lf forms."""
    if rule.lf is None:
        return NativeRule(lib.RF_RULE_SEND, rule.step, format=text_op(rule.data), comment=raw(rule.comment))
    word = "send-binary-lf" if rule.binary else "send-lf"
    flags = lib.RF_RULE_HEX if rule.binary else 0
    return NativeRule(
        lib.RF_RULE_SEND, rule.step, flags, format=formats.format(rule.lf, word), comment=raw(rule.comment)
    )


def common_expect(rule: ExpectRule, kind: int, formats: Formats) -> NativeRule:
    """What every expect has, without its pattern."""
    return NativeRule(
        kind=lib.RF_RULE_EXPECT,
        step=rule.step,
        flags=lib.RF_RULE_NEGATE if rule.negate else 0,
        expect=kind,
        ok_status=status_number(rule.ok_status),
        error_status=status_number(rule.error_status),
        tout_status=status_number(rule.tout_status),
        min_recv=rule.min_recv,
        comment=raw(rule.comment),
        on_success=formats.format(rule.on_success, "on-success"),
        on_error=formats.format(rule.on_error, "on-error"),
        status_code=formats.expression(rule.status_code, "status-code") if rule.status_code else (),
    )


def expect_rule(rule: ExpectRule, formats: Formats) -> NativeRule:
    """One `tcp-check expect`."""
    if rule.kind in REGEX_EXPECTS:
        need_regex()
    made = common_expect(rule, TCP_EXPECTS[rule.kind], formats)
    if rule.kind in (Expect.STRING_LF, Expect.BINARY_LF):
        made.format = formats.format(rule.pattern, f"expect {rule.kind.value}")
    else:
        made.pattern = rule.data if rule.kind is Expect.BINARY else raw(rule.pattern)
    return made


def tcp_rules(rules: Sequence[Rule], formats: Formats, found: Found) -> list[NativeRule]:
    """All rules of a list, behind an implicit connect where it has none."""
    made = []
    for rule in rules:
        match rule:
            case ConnectRule():
                made.append(connect_rule(rule, formats, found))
            case TcpSendRule():
                made.append(send_rule(rule, formats))
            case ExpectRule():
                made.append(expect_rule(rule, formats))
            case VarRule():
                made.append(variable_rule(rule, formats))
            case _:
                raise AssertionError(f"a tcp-check list has no {rule!r}")
    return behind_connect(made)


def behind_connect(made: list[NativeRule]) -> list[NativeRule]:
    """The list, with the implicit connect in front unless it connects by itself (then variables may come first)."""
    if any(rule.kind == lib.RF_RULE_CONNECT for rule in made):
        return made
    return [implicit_connect(), *made]


def status_pairs(ranges: Sequence[tuple[int, int]]) -> bytes:
    """Inclusive ranges as C reads them."""
    return b"".join(struct.pack("=ii", low, high) for low, high in ranges)
