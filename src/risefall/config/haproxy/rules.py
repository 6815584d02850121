"""`http-check` and `tcp-check` lines and check options to rules; how they merge with each other and with defaults.

A draft belongs to one proxy, `defaults` or `healthcheck` section while its lines come in. The rules of §3.2: the last option
decides the kind; the first rule of one's own drops the whole inherited list, the request included.
Source: spec/haproxy-checks.md §3.2, §3.6-3.11; haproxy configuration manual 2.6, §4.2 http-check, tcp-check, option httpchk.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence

import msgspec

from risefall.config.haproxy.address import parse_address
from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import (
    CheckKind,
    ConnectRule,
    Expect,
    ExpectRule,
    Header,
    HeaderMatch,
    HttpSendRule,
    Line,
    Match,
    Place,
    Rule,
    RuleSet,
    TcpSendRule,
    VarRule,
)
from risefall.config.haproxy.units import INT_MAX, LENIENT, atoi, integer
from risefall.config.text import Wrong, nearest

HTTP_WORDS = (
    "disable-on-404",
    "send-state",
    "comment",
    "connect",
    "send",
    "expect",
    "set-var-fmt(*)",
    "set-var(*)",
    "unset-var(*)",
)
TCP_WORDS = (
    "comment", "connect", "send", "send-lf", "send-binary", "send-binary-lf", "expect", "set-var-fmt(*)", "set-var(*)",
    "unset-var(*)",
)  # fmt: skip
OK_STATUSES = ("L4OK", "L6OK", "L7OK", "L7OKC")
ERROR_STATUSES = ("L4CON", "L6RSP", "L7RSP", "L7STS", "L7OKC")
TOUT_STATUSES = ("L4TOUT", "L6TOUT", "L7TOUT")
TCP_PATTERNS = {"string", "rstring", "binary", "rbinary", "string-lf", "binary-lf"}
HTTP_PATTERNS = {"string", "rstring", "string-lf", "status", "rstatus", "hdr", "fhdr"}
EXPECT_OPTIONS = (
    "min-recv", "comment", "ok-status", "error-status", "tout-status", "on-success", "on-error", "status-code",
)  # fmt: skip
VARIABLE_RULE = re.compile(r"(set-var|set-var-fmt|unset-var)\(([^)]*)\)")
VARIABLE_NAME = re.compile(r"(proc|sess|txn|req|res|check)\.[A-Za-z0-9_.]+")
HEX_DIGITS = re.compile(r"[0-9A-Fa-f]*")
Warn = Callable[[Wrong], None]

KINDS = {
    "httpchk": CheckKind.HTTP, "tcp-check": CheckKind.TCP_CHECK, "ssl-hello-chk": CheckKind.SSL_HELLO,
    "smtpchk": CheckKind.SMTP, "mysql-check": CheckKind.MYSQL, "pgsql-check": CheckKind.PGSQL,
    "redis-check": CheckKind.REDIS, "ldap-check": CheckKind.LDAP, "spop-check": CheckKind.SPOP,
    "external-check": CheckKind.EXTERNAL,
}  # fmt: skip


class Sends(msgspec.Struct, frozen=True):
    """What one line says about a request; None where it says nothing."""

    method: str | None = None
    uri: str | None = None
    uri_lf: bool = False
    version: str | None = None
    headers: tuple[Header, ...] = ()
    body: str | None = None
    body_lf: bool = False
    comment: str = ""

    def over(self, earlier: Sends) -> Sends:
        """This line, and what only the earlier one says. Headers are replaced as a whole (spec §3.8)."""
        uri = self if self.uri is not None else earlier
        body = self if self.body is not None else earlier
        return Sends(
            self.method or earlier.method,
            uri.uri,
            uri.uri_lf,
            self.version or earlier.version,
            self.headers or earlier.headers,
            body.body,
            body.body_lf,
            self.comment or earlier.comment,
        )

    def rule(self, place: Place, step: int) -> HttpSendRule:
        return HttpSendRule(
            place,
            step,
            self.method or "OPTIONS",
            "/" if self.uri is None else self.uri,
            self.uri_lf,
            self.version or "HTTP/1.0",
            self.headers,
            self.body or "",
            self.body_lf,
            self.comment,
        )


class Step(msgspec.Struct, frozen=True):
    """One rule line: a finished rule, a request that may still merge, or a comment (which only counts)."""

    place: Place
    rule: Rule | None = None
    sends: Sends | None = None


class RuleDraft:
    """The check rules of one section while its lines come in. `parent`: those of its defaults, finished."""

    def __init__(self, dialect: Dialect, parent: RuleDraft | None = None) -> None:
        self._dialect = dialect
        self.kind: CheckKind | None = parent.kind if parent else None
        self._request: Sends | None = parent._request if parent else None
        self._request_place: Place | None = parent._request_place if parent else None
        self._http: list[Step] = parent._http if parent else []
        self._tcp: list[Step] = parent._tcp if parent else []
        self._own_http = False
        self._own_tcp = False
        self._own_flags: set[str] = set()
        self.options: tuple[str, ...] = parent.options if parent else ()
        self.disable_on_404: bool = parent.disable_on_404 if parent else False
        self.send_state: bool = parent.send_state if parent else False
        self.command: str = parent.command if parent else ""
        self.path: str = parent.path if parent else ""
        self._comment = ""

    # --- options --------------------------------------------------------------------------------------

    def option(self, line: Line, words: Sequence[str], warn: Warn) -> None:
        """`option <preset> ...`; words begin with the name of the preset. Raises Wrong; word numbers count from `option`."""
        kind = KINDS[words[0]]
        place = Place(line.file, line.line)
        options = OPTION_READERS[kind](words, self._dialect)
        if kind is CheckKind.HTTP:
            self._take_http()
            self._request = httpchk_request(words, self._dialect, warn)
            self._request_place = place
            first = self._first_send()
            if first is not None:
                earlier = self._http[first]
                assert earlier.sends is not None
                self._http[first] = Step(earlier.place, sends=self._request.over(earlier.sends))
                self._request = None
        elif (
            kind is CheckKind.TCP_CHECK
            and self.kind is not None
            and self._dialect.tcp_check_drops_rules
            and not self._own_tcp
        ):
            self._take_tcp()
        self.kind = kind
        self.options = options

    def _take_http(self) -> None:
        """The first word of one's own drops what was inherited."""
        if not self._own_http:
            self._own_http = True
            self._http = []
            self._request = None
            self._comment = ""
            if self._dialect.check_flags_in_rules:
                self.disable_on_404 = "disable-on-404" in self._own_flags
                self.send_state = "send-state" in self._own_flags

    def _take_tcp(self) -> None:
        if not self._own_tcp:
            self._own_tcp = True
            self._tcp = []
            self._comment = ""

    # --- rules ------------------------------------------------------------------------------------------

    def http_check(self, line: Line) -> None:
        """One `http-check` line. Raises Wrong."""
        words = line.words
        word = words[1] if len(words) > 1 else ""
        if word in ("disable-on-404", "send-state"):
            no_more(words, 2)
            self._own_flags.add(word)
            self.disable_on_404 |= word == "disable-on-404"
            self.send_state |= word == "send-state"
            return
        self._take_http()
        step = self._rule(line, word, HTTP_WORDS, http=True)
        if self.kind is CheckKind.HTTP:
            self._order(step)
        elif isinstance(step.rule, ConnectRule):
            self._first_connect(self._http)
        self._http.append(step)
        if self._request is not None and step.sends and self._first_send() == len(self._http) - 1:
            self._http[-1] = Step(step.place, sends=step.sends.over(self._request))
            self._request = None

    def _first_send(self) -> int | None:
        """The send that merges with `option httpchk`: the first real step, a connect apart (spec §3.8)."""
        real = real_steps(self._http)
        if real and isinstance(self._http[real[0]].rule, ConnectRule):
            real = real[1:]
        return real[0] if real and self._http[real[0]].sends else None

    def tcp_check(self, line: Line) -> None:
        """One `tcp-check` line. Raises Wrong."""
        words = line.words
        word = words[1] if len(words) > 1 else ""
        self._take_tcp()
        step = self._rule(line, word, TCP_WORDS, http=False)
        if isinstance(step.rule, ConnectRule):
            self._first_connect(self._tcp)
        self._tcp.append(step)

    def _first_connect(self, steps: Sequence[Step]) -> None:
        """If there is a connect at all, the first rule must be one."""
        real = real_steps(steps)
        if real and not isinstance(steps[real[0]].rule, ConnectRule):
            raise Wrong(
                "first step MUST also be a 'connect', optionally preceded by a 'set-var', an 'unset-var' or a 'comment', "
                "when there is a 'connect' step in the tcp-check ruleset",
                1,
                help="add a connect line before the first send or expect",
            )

    def _order(self, step: Step) -> None:
        """What may follow what in an http-check list (spec §3.2); comments and variables do not count.

        HAProxy asks only for lines behind `option httpchk`, its own or inherited; before it, they are just kept.
        """
        before = [self._http[index] for index in real_steps(self._http)]
        if isinstance(step.rule, VarRule) or (step.rule is None and step.sends is None):
            return
        new = "send" if step.sends else "connect" if isinstance(step.rule, ConnectRule) else "expect"
        last = before[-1] if before else None
        missing = ""
        if last is None:
            pass
        elif last.sends and new != "expect":
            missing = "expect"
        elif isinstance(last.rule, ConnectRule) and new != "send":
            missing = "send"
        elif isinstance(last.rule, ExpectRule) and new == "send":
            missing = "connect"
        if missing:
            raise Wrong(
                f"unable to add http-check {new} rule at step {len(self._http) + 1} (missing {missing} rule)",
                1,
                help=f"add 'http-check {missing}' before it",
            )
        if new == "connect":
            self._first_connect(before)

    def _rule(self, line: Line, word: str, known: Sequence[str], *, http: bool) -> Step:
        """One rule line as a step; `line.words[0]` is http-check or tcp-check."""
        words, place = line.words, Place(line.file, line.line)
        comment, self._comment = self._comment, ""  # of the rule in front, and for this one alone
        if word == "comment":
            self._comment = argument(words, 1, "a text")  # HAProxy passes over what stands behind it
            return Step(place)
        variable = VARIABLE_RULE.fullmatch(word)
        if variable:
            name = variable.group(2).partition(",")[0]
            if not VARIABLE_NAME.fullmatch(name):
                raise Wrong(
                    f"invalid variable name '{name}', it must begin with its scope",
                    1,
                    help="the scope is proc, sess, txn, req, res or check, such as check.name",
                )
            if variable.group(1) != "unset-var" and len(words) < 3:
                raise Wrong(f"'{word}' wants an expression", len(words), help=f"write {word} <expression>")
            return Step(place, VarRule(place, 0, variable.group(1), variable.group(2), " ".join(words[2:])))
        if word == "connect":
            return Step(place, connect_rule(words, place, comment))
        if word == "expect":
            return Step(place, expect_rule(words, place, comment, http=http))
        if http and word == "send":
            return Step(place, sends=http_send(words, comment))
        if not http and word in TCP_WORDS and word.startswith("send"):
            return Step(place, tcp_send(words, place, comment))
        meant = nearest(word, known) if word else ""
        raise Wrong(
            f"'{words[0]}' does not know '{word}'" if word else f"'{words[0]}' wants a rule",
            1,
            help=f"did you mean '{meant}'?" if meant else "known are " + ", ".join(known),
        )

    # --- the result -------------------------------------------------------------------------------------

    def finish(self, place: Place) -> RuleSet:
        """The rule set that applies."""
        kind = self.kind or CheckKind.TCP
        rules: tuple[Rule, ...] = ()
        if kind is CheckKind.HTTP:
            rules = self._http_rules(place)
        elif kind is CheckKind.TCP_CHECK:
            rules = tuple(
                msgspec.structs.replace(step.rule, step=number) for number, step in enumerate(self._tcp, 1) if step.rule
            )
        return RuleSet(
            kind=kind,
            rules=rules,
            options=self.options,
            disable_on_404=self.disable_on_404,
            send_state=self.send_state,
            command=self.command,
            path=self.path,
            place=place,
        )

    def _http_rules(self, place: Place) -> tuple[Rule, ...]:
        """The list, with the request of `option httpchk` in front or behind the first connect, unless it merged."""
        steps = list(self._http)
        if self._request is not None:
            real = real_steps(steps)
            behind = bool(real) and isinstance(steps[real[0]].rule, ConnectRule)
            steps.insert(real[0] + 1 if behind else 0, Step(self._request_place or place, sends=self._request))
        rules: list[Rule] = []
        for number, step in enumerate(steps, 1):
            if step.sends:
                rules.append(step.sends.rule(step.place, number))
            elif step.rule:
                rules.append(msgspec.structs.replace(step.rule, step=number))
        return tuple(rules)

    @property
    def ignored(self) -> str:
        """Which rules are there without the option that they need: `http-check`, `tcp-check` or nothing."""
        if self._own_http and self._http and self.kind is not CheckKind.HTTP:
            return "http-check"
        if self._own_tcp and self._tcp and self.kind is not CheckKind.TCP_CHECK:
            return "tcp-check"
        return ""


# --- words ----------------------------------------------------------------------------------------------


def real_steps(steps: Sequence[Step]) -> list[int]:
    """Where the steps stand that do something on the wire: neither comments nor variables."""
    return [
        index for index, step in enumerate(steps) if step.sends or (step.rule and not isinstance(step.rule, VarRule))
    ]


def argument(words: Sequence[str], at: int, what: str) -> str:
    """The word behind word `at`. Raises Wrong when there is none."""
    if at + 1 >= len(words):
        raise Wrong(f"'{words[at]}' wants {what}", len(words), help=f"write {words[at]} and {what} behind it")
    return words[at + 1]


def no_more(words: Sequence[str], at: int) -> None:
    """Raises Wrong when there is a word `at`."""
    if len(words) > at:
        raise Wrong(f"'{' '.join(words[:2])}' cannot handle unexpected argument '{words[at]}'", at, help="remove it")


def binary(text: str, at: int) -> bytes:
    """Bytes of hexadecimal digits. Raises Wrong."""
    digits = HEX_DIGITS.match(text)
    assert digits is not None
    if digits.end() < len(text):
        raise Wrong(
            f"'{text}' invalid binary string (an hex digit is expected (found '{text[digits.end()]}'))",
            at,
            help="write pairs of hexadecimal digits, such as 0d0a",
        )
    if len(text) % 2:
        raise Wrong(
            f"'{text}' invalid binary string (an even number of hex digit is expected)",
            at,
            help="write pairs of hexadecimal digits, such as 0d0a",
        )
    return bytes.fromhex(text)


def connect_rule(words: Sequence[str], place: Place, comment: str) -> ConnectRule:
    """`connect [default] [port p] [addr a] [send-proxy] [via-socks4] [ssl] [sni s] [alpn p] [linger] [proto m] [comment c]`."""
    fields: dict[str, object] = {"comment": comment}
    flags = {"default", "send-proxy", "via-socks4", "ssl", "linger"}
    at = 2
    while at < len(words):
        word = words[at]
        if word in flags:
            fields[word.replace("-", "_")] = True
            at += 1
            continue
        if word not in ("port", "addr", "sni", "alpn", "proto", "comment"):
            known = [*flags, "port", "addr", "sni", "alpn", "proto", "comment"]
            meant = nearest(word, known)
            raise Wrong(
                f"'{words[0]} connect' does not know '{word}'",
                at,
                help=f"did you mean '{meant}'?" if meant else "known are " + ", ".join(sorted(known)),
            )
        value = argument(words, at, "a value")
        if word == "port":
            if value.isascii() and value.isdigit() and 0 < integer(value) <= 65535:
                fields["port"] = integer(value)
            elif value[:1].isalpha():
                fields["port_expr"] = value
            else:
                raise Wrong(
                    f"expects a valid TCP port (from range 1 to 65535) or a sample expression, got {value}",
                    at + 1,
                    help="write a port, such as port 80",
                )
        elif word == "addr":
            fields["addr"] = parse_address(value, at + 1)
        else:
            if word == "proto" and words[0] == "tcp-check" and value in ("h1", "h2", "fcgi"):
                raise Wrong(f"'proto' : invalid MUX protocol '{value}' for tcp-check", at + 1, help="remove it")
            fields[word] = value
        at += 2
    return ConnectRule(place, 0, **fields)  # type: ignore[arg-type]


def tcp_send(words: Sequence[str], place: Place, comment: str) -> TcpSendRule:
    """`send`, `send-lf`, `send-binary`, `send-binary-lf`, each with one text and an optional comment."""
    word = words[1]
    text = argument(words, 1, "a string")
    if len(words) > 3:
        if words[3] != "comment":
            raise Wrong(
                f"expects 'comment', but got '{words[3]}' as argument", 3, help="put quotes around a text with blanks"
            )
        comment = argument(words, 3, "a text")
        no_more(words, 5)
    is_binary = "binary" in word
    if word.endswith("-lf"):
        return TcpSendRule(place, 0, lf=text, binary=is_binary, comment=comment)
    data = binary(text, 2) if is_binary else text.encode("utf-8", "surrogateescape")
    return TcpSendRule(place, 0, data, binary=is_binary, comment=comment)


def http_send(words: Sequence[str], comment: str) -> Sends:
    """`http-check send [meth m] [{uri u | uri-lf f}] [ver v] [hdr n f]... [{body b | body-lf f}] [comment c]`."""
    fields: dict[str, object] = {"comment": comment}
    headers: list[Header] = []
    at = 2
    while at < len(words):
        word = words[at]
        if word not in ("meth", "uri", "uri-lf", "ver", "hdr", "body", "body-lf", "comment"):
            raise Wrong(
                f"expects 'comment', 'meth', 'uri', 'uri-lf', 'ver', 'hdr', 'body' or 'body-lf' but got '{word}' as argument",
                at,
                help=f"did you mean '{nearest(word, ('meth', 'uri', 'ver', 'hdr', 'body', 'comment')) or 'hdr'}'?",
            )
        value = argument(words, at, "a value")
        at += 2
        match word:
            case "meth":
                fields["method"] = value
            case "ver":
                fields["version"] = value
            case "uri" | "uri-lf":
                fields |= {"uri": value, "uri_lf": word == "uri-lf"}
            case "body" | "body-lf":
                fields |= {"body": value, "body_lf": word == "body-lf"}
            case "comment":
                fields["comment"] = value
            case _:
                content = argument(words, at - 1, "a value for the header")
                at += 1
                host = next(
                    (header.value for header in headers if header.name.lower() == value.lower() == "host"), None
                )
                if host is not None:
                    raise Wrong(
                        f"'host' header already defined (previous value is '{host}')", at - 2, help="keep one of them"
                    )
                headers.append(Header(value, content))
    return Sends(**fields, headers=tuple(headers))  # type: ignore[arg-type]


def one_of(words: Sequence[str], at: int, known: Sequence[str]) -> str:
    """The status word behind word `at`, in capitals."""
    got = argument(words, at, "a status").upper()
    if got not in known:
        raise Wrong(
            f"'{words[at]}' only supports {', '.join(known)} (got '{words[at + 1]}')",
            at + 1,
            help=f"write one of {', '.join(known)}",
        )
    return got


def expect_rule(words: Sequence[str], place: Place, comment: str, *, http: bool) -> ExpectRule:
    """`expect [options] [!] <pattern> ...`, of both languages (spec §3.6)."""
    fields: dict[str, object] = {"comment": comment}
    patterns = HTTP_PATTERNS if http else TCP_PATTERNS
    seen = False
    at = 2
    while at < len(words):
        word = words[at]
        if word in EXPECT_OPTIONS:
            fields[word.replace("-", "_")] = expect_option(words, at)
            at += 2
            continue
        negate = word.startswith("!")
        if word == "!":
            at += 1
            if at >= len(words):
                raise Wrong("'!' wants a pattern behind it", at, help="write ! string <text>")
            word = words[at]
        elif negate:
            word = word[1:]
        if word not in patterns:
            meant = nearest(word, [*patterns, *EXPECT_OPTIONS])
            raise Wrong(
                f"'{words[0]} expect' does not know '{word}'",
                at,
                help=f"did you mean '{meant}'?"
                if meant
                else f"known are {', '.join(sorted(patterns))}, {', '.join(EXPECT_OPTIONS)}",
            )
        if seen:
            raise Wrong("only one pattern expected", at, help="write a second expect line")
        seen = True
        fields |= {"negate": negate, "kind": Expect(word)}
        at = expect_pattern(words, at, word, fields)
    if not seen:
        raise Wrong(
            f"'{words[0]} expect' wants a pattern",
            len(words),
            help="such as: expect status 200" if http else "such as: expect string OK",
        )
    return ExpectRule(place, 0, **fields)  # type: ignore[arg-type]


def expect_option(words: Sequence[str], at: int) -> int | str:
    """The value of one option of an expect."""
    match words[at]:
        case "min-recv":
            text = argument(words, at, "a number of bytes")
            found = LENIENT.match(text)
            number = integer(found.group(1)) if found else 0
            if not -1 <= number <= INT_MAX:
                raise Wrong(
                    "'min-recv' expects -1 or an integer from 0 to INT_MAX", at + 1, help="write a number of bytes"
                )
            return number
        case "ok-status":
            return one_of(words, at, OK_STATUSES)
        case "error-status":
            return one_of(words, at, ERROR_STATUSES)
        case "tout-status":
            return one_of(words, at, TOUT_STATUSES)
    return argument(words, at, "a value")


def expect_pattern(words: Sequence[str], at: int, word: str, fields: dict[str, object]) -> int:
    """The pattern at word `at`; returns where the next option stands."""
    if word in ("hdr", "fhdr"):
        return expect_header(words, at, fields)
    text = argument(words, at, "a pattern")
    if word == "status":
        fields |= {"statuses": status_ranges(text, at + 1), "pattern": text}
    elif word == "binary":
        fields |= {"data": binary(text, at + 1), "pattern": text}
    else:
        if word in ("rstring", "rstatus", "rbinary"):
            check_regex(text, at + 1)
        fields["pattern"] = text
    return at + 2


def expect_header(words: Sequence[str], at: int, fields: dict[str, object]) -> int:
    """`hdr { name [-m how] <text> | name-lf <fmt> } [ value [-m how] <text> | value-lf <fmt> ]`."""
    kind = words[at]
    if at + 1 >= len(words) or words[at + 1] not in ("name", "name-lf"):
        raise Wrong(
            f"'{kind}' expects at the name keyword as first argument followed by a pattern",
            min(at + 1, len(words)),
            help=f"write {kind} name <header>",
        )
    fields["name"], at = header_half(words, at + 1, kind)
    if at < len(words) and words[at] in ("value", "value-lf"):
        fields["value"], at = header_half(words, at, kind)
    return at


def header_half(words: Sequence[str], at: int, kind: str) -> tuple[HeaderMatch, int]:
    """The half that begins with `name`, `name-lf`, `value` or `value-lf` at word `at`; and what follows it."""
    lf = words[at].endswith("-lf")
    how = Match.STR
    if at + 1 < len(words) and words[at + 1] == "-m":
        got = argument(words, at + 1, "a match method")
        if got not in (match.value for match in Match):
            raise Wrong(
                f"'{kind}' : '-m' only supports 'str', 'beg', 'end', 'sub' or 'reg' (got '{got}')",
                at + 2,
                help="write one of them",
            )
        how = Match(got)
        at += 2
    if at + 1 >= len(words):
        raise Wrong(f"'{kind}' expect a pattern with the value keyword", len(words), help="write the text behind it")
    text = words[at + 1]
    if how is Match.REG and not lf:
        check_regex(text, at + 1)
    return HeaderMatch(text, how, lf), at + 2


def status_ranges(text: str, at: int) -> tuple[tuple[int, int], ...]:
    """`200,300-399` as inclusive ranges, as leniently as HAProxy reads it (`200,` is 200 and 0)."""
    bad = next((char for char in text if char not in "0123456789,-"), "")
    if bad:
        raise Wrong(
            f"invalid character '{bad}' in the list of status codes",
            at,
            help="write numbers and ranges, such as 200,300-399",
        )
    ranges = []
    for piece in text.split(","):
        low, dash, high = piece.partition("-")
        first = atoi(low)
        last = atoi(high) if dash else first
        if last < first:
            raise Wrong(f"invalid range of status codes '{piece}'", at, help="write the lower number first")
        ranges.append((first, last))
    return tuple(ranges)


def check_regex(pattern: str, at: int) -> None:
    """Refuses at once what no regular expression library can read; PCRE2 has the last word when it is compiled.

    Python's own compiler knows less than PCRE2, so only what is broken in both is refused: brackets that do not match. What PCRE2
    alone has, verbs and quotes, it takes for brackets; of POSIX classes it warns.
    """
    if "(*" in pattern or "\\Q" in pattern:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        if any(word in str(error) for word in ("unterminated", "unbalanced", "nothing to repeat")):
            raise Wrong(
                f"regex '{pattern}' is invalid ({error})",
                at,
                help="close what is open, or write \\ before a literal character",
            ) from None


# --- option lines -----------------------------------------------------------------------------------------


def httpchk_request(words: Sequence[str], dialect: Dialect, warn: Warn) -> Sends:
    """`option httpchk [<method>] [<uri>] [<version>] [<host>]`; words begin with `httpchk` (spec §3.8)."""
    given = words[1:]
    if len(given) > (4 if dialect.httpchk_host else 3):
        raise Wrong(
            f"'option httpchk' cannot handle unexpected argument '{given[-1]}'",
            len(words),
            help="put headers on 'http-check send' lines",
        )
    if len(given) <= 1:
        return Sends(uri=given[0] if given else None)
    method, uri = given[0], given[1]
    version = given[2] if len(given) > 2 else None
    headers: tuple[Header, ...] = (Header("Host", given[3]),) if len(given) > 3 else ()
    body = None
    if version and ("\r" in version or "\n" in version):
        known = "are deprecated" if dialect.version_headers else "are refused by HAProxy 3; read as 2.6 reads them"
        warn(
            Wrong(
                f"headers hidden in the version of 'option httpchk' {known}",
                4,
                help="use an 'http-check send' line with hdr instead",
            )
        )
        version, headers, body = split_version(version)
    return Sends(method, uri, version=version, headers=headers, body=body)


def split_version(text: str) -> tuple[str, tuple[Header, ...], str | None]:
    """The old trick: version, headers and body in one word."""
    head, blank, body = re.sub(r"\r\n?", "\n", text).partition("\n\n")
    version, *lines = head.split("\n")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and name.strip():
            headers.append(Header(name.strip(), value.strip()))
    return version.strip(), tuple(headers), body if blank and body else None


def plain_option(words: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    """A preset without arguments."""
    if len(words) > 1:
        raise Wrong(f"'option {words[0]}' cannot handle unexpected argument '{words[1]}'", 2, help="remove it")
    return ()


def httpchk_option(words: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    return ()


def smtpchk_option(words: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    """Any greeting but HELO and EHLO with a host is `HELO localhost`."""
    if len(words) > 3:
        raise Wrong(f"'option smtpchk' cannot handle unexpected argument '{words[3]}'", 4, help="remove it")
    if len(words) == 3 and words[1] in ("HELO", "EHLO"):
        return tuple(words[1:])
    return "HELO", "localhost"


def mysql_option(words: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    versions = ("post-41", "pre-41", "post-80") if dialect.mysql_post_80 else ("post-41", "pre-41")
    if len(words) == 1:
        return ()
    if words[1] != "user":
        raise Wrong(
            f"'option mysql-check' only supports optional values: 'user' (got '{words[1]}')",
            2,
            help="write user <name>",
        )
    if len(words) < 3:
        raise Wrong("'option mysql-check user' expects <username> as argument", 3, help="write the name of a user")
    if len(words) > 3 and words[3] not in versions:
        raise Wrong(
            f"keyword 'user' only supports {' and '.join(repr(v) for v in versions)} (got '{words[3]}')",
            4,
            help=f"write one of {', '.join(versions)}",
        )
    if len(words) > 4:
        raise Wrong(f"'option mysql-check' cannot handle unexpected argument '{words[4]}'", 5, help="remove it")
    return "user", words[2], words[3] if len(words) > 3 else "post-41"


def pgsql_option(words: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    if len(words) < 3:
        raise Wrong(
            "'option pgsql-check' expects 'user <username>' as argument", len(words) + 1, help="write user <name>"
        )
    if words[1] != "user":
        raise Wrong("'option pgsql-check' only supports optional values: 'user'", 2, help="write user <name>")
    if len(words) > 3:
        raise Wrong(f"'option pgsql-check' cannot handle unexpected argument '{words[3]}'", 4, help="remove it")
    return "user", words[2]


OPTION_READERS: dict[CheckKind, Callable[[Sequence[str], Dialect], tuple[str, ...]]] = {
    CheckKind.HTTP: httpchk_option,
    CheckKind.TCP_CHECK: plain_option,
    CheckKind.SSL_HELLO: plain_option,
    CheckKind.SMTP: smtpchk_option,
    CheckKind.MYSQL: mysql_option,
    CheckKind.PGSQL: pgsql_option,
    CheckKind.REDIS: plain_option,
    CheckKind.LDAP: plain_option,
    CheckKind.SPOP: plain_option,
    CheckKind.EXTERNAL: plain_option,
}
