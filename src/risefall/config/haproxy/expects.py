"""`http-check expect` and `tcp-check expect` lines to rules.

Source: spec/haproxy-checks.md §3.6; haproxy configuration manual 2.6, §4.2 http-check expect, tcp-check expect.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from risefall.config.haproxy.model import Expect, ExpectRule, HeaderMatch, Match, Place
from risefall.config.haproxy.rule_lines import argument, binary, check_expression, check_format
from risefall.config.haproxy.units import INT_MAX, LENIENT, atoi, integer
from risefall.config.text import Wrong, nearest

OK_STATUSES = ("L4OK", "L6OK", "L7OK", "L7OKC")
ERROR_STATUSES = ("L4CON", "L6RSP", "L7RSP", "L7STS", "L7OKC")
TOUT_STATUSES = ("L4TOUT", "L6TOUT", "L7TOUT")
TCP_PATTERNS = {"string", "rstring", "binary", "rbinary", "string-lf", "binary-lf"}
HTTP_PATTERNS = {"string", "rstring", "string-lf", "status", "rstatus", "hdr", "fhdr"}
EXPECT_OPTIONS = (
    "min-recv", "comment", "ok-status", "error-status", "tout-status", "on-success", "on-error", "status-code",
)  # fmt: skip


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
        negate = False
        while word.startswith("!"):  # each turns the sense around, alone or in front of a word
            negate = not negate
            word = word[1:]
            if not word:
                at += 1
                if at >= len(words):
                    raise Wrong("'!' wants a pattern behind it", at, help="write ! string <text>")
                word = words[at]
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
        case "on-success" | "on-error":
            return check_format(argument(words, at, "a format"), at + 1)
        case "status-code":
            return check_expression(argument(words, at, "an expression"), at + 1)
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
        fields["pattern"] = check_format(text, at + 1) if word.endswith("-lf") else text
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
    if how is Match.REG:
        if lf:
            raise Wrong(
                f"'{kind}': log-format string is not supported with a regex matching method",
                at,
                help="write the expression itself, or another -m",
            )
        check_regex(text, at + 1)
    if lf:
        check_format(text, at + 1)
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
        if "-" in high:
            raise Wrong("invalid character '-' in the list of status codes", at, help="write ranges such as 300-399")
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
