"""`option httpchk` and `http-check` rules as native rules: requests put together, the default rule added.

Source: spec/haproxy-checks.md §3.2, §3.8, §3.9.
"""

from __future__ import annotations

import re

from risefall.config.haproxy.model import (
    ConnectRule,
    Expect,
    ExpectRule,
    Header,
    HeaderMatch,
    HttpSendRule,
    Match,
    Rule,
    RuleSet,
    VarRule,
)
from risefall.engine._native import ffi, lib
from risefall.engine.formats import Formats
from risefall.engine.layout import NativeRule, Op, raw, text_op
from risefall.engine.names import Found
from risefall.engine.tcp_rules import (
    REGEX_EXPECTS,
    behind_connect,
    common_expect,
    connect_rule,
    need_regex,
    status_pairs,
    variable_rule,
)

BODILESS_METHODS = frozenset(("OPTIONS", "GET", "HEAD", "DELETE"))
VERSION_11 = re.compile(r"HTTP/(?:[2-9]\.?.|1\.[1-9]|2)", re.DOTALL | re.IGNORECASE)
VERSION_2 = re.compile("HTTP/2", re.IGNORECASE)
"""Written as 1.1, but nothing is said of the connection."""
DEFAULT_STATUSES = ((200, 399),)
EXPECTS = {
    Expect.STATUS: lib.RF_EXP_HTTP_STATUS,
    Expect.RSTATUS: lib.RF_EXP_HTTP_RSTATUS,
    Expect.STRING: lib.RF_EXP_HTTP_STRING,
    Expect.RSTRING: lib.RF_EXP_HTTP_RSTRING,
    Expect.STRING_LF: lib.RF_EXP_STRING_LF,
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
CRLF = b"\r\n"
CHUNKED, LAST_CHUNK = b"transfer-encoding: chunked\r\n", b"0\r\n\r\n"


def is_plain(ops: list[Op]) -> bool:
    """Whether a format is a text, whatever the run finds."""
    return all(op.code == lib.RF_OP_TEXT for op in ops)


def plain_text(ops: list[Op]) -> bytes:
    """What such a format says."""
    return b"".join(op.text for op in ops)


def joined(ops: list[Op]) -> list[Op]:
    """Neighbouring texts as one: a request without formats is one piece, which C sends as it stands."""
    out: list[Op] = []
    for op in ops:
        if out and op.code == out[-1].code == lib.RF_OP_TEXT:
            out[-1] = out[-1]._replace(text=out[-1].text + op.text)
        elif op.code != lib.RF_OP_TEXT or op.text:
            out.append(op)
    return out


def header_ops(name: str, value: list[Op]) -> list[Op]:
    """A header line, in lower case; nothing of one whose value turns out empty."""
    if is_plain(value):
        text = plain_text(value)
        return text_op(raw(name) + b": " + text + CRLF) if text else []
    return [Op(lib.RF_OP_HEADER, text=raw(name)), *value, Op(lib.RF_OP_HEADER_END)]


def state_ops(formats: Formats) -> list[Op]:
    """`http-check send-state`: what the server is, in one line."""
    return [
        *text_op(b"x-haproxy-server-state: "),
        Op(lib.RF_OP_STATE),
        Op(lib.RF_OP_FACT, formats.fact("state-site")),
        Op(lib.RF_OP_WEIGHT),
        *text_op(b"/"),
        Op(lib.RF_OP_TOTAL),
        *text_op(b"; scur=0/0; qcur=0\r\n"),
    ]


def length_ops(body: list[Op], always: bool) -> list[Op]:
    """The content-length header; a body that is put together by the run is counted there."""
    if is_plain(body):
        size = len(plain_text(body))
        return text_op(b"content-length: %d\r\n" % size) if size or always else []
    return [Op(lib.RF_OP_LENGTH, len(body), int(always))]


class Connection:
    """What becomes of a request's `Connection` headers, and which one HAProxy adds: C's rule, asked once where all is plain."""

    def __init__(self, *, modern: bool) -> None:
        """modern: HTTP/1.1, which is kept open unless somebody says otherwise; before it, it is closed."""
        self._modern = modern
        self._said = ffi.new("uint32_t *")
        self._at_run_time = False

    def header(self, value: list[Op]) -> list[Op]:
        """One header's line, without the words that HAProxy speaks for itself."""
        if not is_plain(value):
            self._at_run_time = True
            return [Op(lib.RF_OP_HEADER, text=b"connection"), *value, Op(lib.RF_OP_CONNECTION_END)]
        text = bytearray(plain_text(value))
        left = lib.rf_connection_value(ffi.from_buffer(text), len(text), self._said)
        return header_ops("connection", text_op(bytes(text[:left])))

    def added(self) -> list[Op]:
        """HAProxy's own header, at the end."""
        if self._at_run_time:
            return [Op(lib.RF_OP_CONNECTION, self._said[0], int(self._modern))]
        return text_op(ffi.string(lib.rf_connection_line(self._said[0], self._modern)))


def uri_ops(rule: HttpSendRule, formats: Formats) -> list[Op]:
    """The request's URI, whose authority is the Host header where there are both; C's rule, asked once where all is plain."""
    uri = formats.format(rule.uri, "http-check send uri-lf") if rule.uri_lf else text_op(raw(rule.uri))
    host = next((header.value for header in rule.headers if header.name.lower() == "host"), "")
    if not host:
        return uri if is_plain(uri) else [Op(lib.RF_OP_URI), *uri, Op(lib.RF_OP_URI_END)]
    authority = formats.format(host, "http-check send hdr host")
    text, span = plain_text(uri), ffi.new("rf_span *")
    if is_plain(uri) and not lib.rf_uri_authority(text, len(text), span):
        return uri
    if is_plain(uri) and is_plain(authority) and span.len:
        return text_op(text[: span.at] + plain_text(authority) + text[span.at + span.len :])
    return [Op(lib.RF_OP_URI), *uri, Op(lib.RF_OP_AUTHORITY), *authority, Op(lib.RF_OP_URI_END)]


class Hidden:
    """Content-Length and Transfer-Encoding of the version word of `option httpchk`, which HAProxy 2.6 sends beside its own."""

    def __init__(self, rule: HttpSendRule, body: bytes) -> None:
        self._body = body
        self.framed = False
        self.chunked = False
        self.says_length = True
        """Whether HAProxy's own content-length follows: not where the file names another one."""

    def header(self, header: Header) -> list[Op]:
        """One such header's line: nothing of one that an `http-check send` names."""
        if not header.hidden:
            return []
        name, value = header.name.lower(), header.value
        if name == "content-length":
            fits = int(value) == len(self._body)
            if not fits and not self._body:
                return []
            self.says_length &= fits
        else:
            self.chunked = value.lower() == "chunked"
        self.framed = True
        return text_op(raw(f"{name}: {value}") + CRLF)

    def chunks(self) -> bytes:
        """The body in one chunk, and the last one."""
        return (b"%x\r\n%s\r\n" % (len(self._body), self._body) if self._body else b"") + LAST_CHUNK


def request_ops(rule: HttpSendRule, send_state: bool, formats: Formats) -> list[Op]:
    """What HAProxy writes for one `http-check send`: names in lower case, its own headers last (spec §3.8)."""
    uri = uri_ops(rule, formats)
    body = formats.format(rule.body, "http-check send body-lf") if rule.body_lf else text_op(raw(rule.body))
    modern = VERSION_11.fullmatch(rule.version) is not None
    version = b"HTTP/1.1" if modern else raw(rule.version)
    ops = [*text_op(raw(rule.method) + b" "), *uri, *text_op((b" " + version if version else b"") + CRLF)]
    connection = Connection(modern=modern and not VERSION_2.fullmatch(rule.version))
    hidden = Hidden(rule, plain_text(body) if is_plain(body) else b"")
    for header in rule.headers:
        name = header.name.lower()
        value = formats.format(header.value, f"http-check send hdr {header.name}")
        if name in ("content-length", "transfer-encoding"):
            ops += hidden.header(header)
            continue
        ops += connection.header(value) if name == "connection" else header_ops(name, value)
    if send_state:
        ops += state_ops(formats)
    if hidden.says_length:
        ops += length_ops(body, rule.method not in BODILESS_METHODS)
    ops += connection.added()
    if modern and rule.empty_body and rule.method in BODILESS_METHODS and not hidden.framed:
        return joined([*ops, *text_op(CHUNKED + CRLF + (b"" if rule.method == "HEAD" else LAST_CHUNK))])
    if hidden.chunked:
        return joined([*ops, *text_op(CRLF + hidden.chunks())])
    if modern and not is_plain(body) and rule.method in BODILESS_METHODS:  # a body was meant: HAProxy says so in chunks
        last_chunk = b"" if rule.method == "HEAD" else b"\r\n0\r\n"
        ops.append(Op(lib.RF_OP_NO_BODY, len(body), text=b"transfer-encoding: chunked\r\n" + last_chunk))
    ops = joined([*ops, *text_op(CRLF)])
    return joined([*ops, *body]) if is_plain(body) else [*ops, *body]


def header_half(half: HeaderMatch | None, what: str, formats: Formats) -> tuple[int, bytes, list[Op]]:
    """Match method, and the text or the format; no half at all is RF_MATCH_NONE."""
    if half is None:
        return lib.RF_MATCH_NONE, b"", []
    if half.match is Match.REG:
        need_regex()
    if half.lf:
        return MATCHES[half.match], b"", formats.format(half.text, what)
    return MATCHES[half.match], raw(half.text), []


def expect_rule(rule: ExpectRule, formats: Formats) -> NativeRule:
    """One `http-check expect`."""
    if rule.kind in REGEX_EXPECTS:
        need_regex()
    made = common_expect(rule, EXPECTS[rule.kind], formats)
    if rule.kind is Expect.STRING_LF:
        made.format = formats.format(rule.pattern, "http-check expect string-lf")
    else:
        made.pattern = status_pairs(rule.statuses) if rule.kind is Expect.STATUS else raw(rule.pattern)
    what = "http-check expect hdr"
    made.name_match, made.name, made.name_format = header_half(rule.name, f"{what} name-lf", formats)
    made.value_match, made.value, made.value_format = header_half(rule.value, f"{what} value-lf", formats)
    return made


def http_rule(rule: Rule, send_state: bool, formats: Formats, found: Found) -> NativeRule:
    """One rule of an httpchk."""
    match rule:
        case HttpSendRule():
            ops = request_ops(rule, send_state, formats)
            return NativeRule(lib.RF_RULE_SEND, rule.step, format=ops, comment=raw(rule.comment))
        case ExpectRule():
            return expect_rule(rule, formats)
        case ConnectRule():
            return connect_rule(rule, formats, found)
        case VarRule():
            return variable_rule(rule, formats)
        case _:
            raise AssertionError(f"an http-check list has no {rule!r}")


def http_rules(rules: RuleSet, formats: Formats, found: Found) -> list[NativeRule]:
    """The rules of an httpchk: an implicit connect first, an implicit `status 200-399` after a send without an expect."""
    out: list[NativeRule] = []
    for rule in rules.rules:
        out.append(http_rule(rule, rules.send_state, formats, found))
    last = next((rule for rule in reversed(out) if rule.kind in (lib.RF_RULE_SEND, lib.RF_RULE_EXPECT)), None)
    if last is not None and last.kind == lib.RF_RULE_SEND:
        pattern = status_pairs(DEFAULT_STATUSES)
        out.append(NativeRule(lib.RF_RULE_EXPECT, out[-1].step + 1, expect=lib.RF_EXP_HTTP_STATUS, pattern=pattern))
    return behind_connect(out)


def literal_host(rules: RuleSet) -> str:
    """The Host of the first request, where it is a plain text."""
    for rule in rules.rules:
        if isinstance(rule, HttpSendRule):
            host = next((header.value for header in rule.headers if header.name.lower() == "host"), "")
            return "" if "%" in host.replace("%%", "") else host.replace("%%", "%")
    return ""
