"""One `http-check` or `tcp-check` line that sends or connects, to its rule.

Source: spec/haproxy-checks.md §3.6-3.9; haproxy configuration manual 2.6, §4.2 http-check, tcp-check.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from risefall.config.haproxy.address import parse_address
from risefall.config.haproxy.formats import FormatError, parse_expression, parse_format
from risefall.config.haproxy.model import ConnectRule, Header, HttpSendRule, Place, TcpSendRule
from risefall.config.haproxy.units import integer
from risefall.config.text import Wrong, nearest

MUXES = {"http-check": ("h1", "h2", "fcgi"), "tcp-check": ("none",)}
"""What a connection may speak, by the list that it is in."""
HEX_DIGITS = re.compile(r"[0-9A-Fa-f]*")


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
            self.body == "" and not self.body_lf,
        )


def argument(words: Sequence[str], at: int, what: str) -> str:
    """The word behind word `at`. Raises Wrong when there is none."""
    if at + 1 >= len(words):
        raise Wrong(f"'{words[at]}' wants {what}", len(words), help=f"write {words[at]} and {what} behind it")
    return words[at + 1]


def no_more(words: Sequence[str], at: int) -> None:
    """Raises Wrong when there is a word `at`."""
    if len(words) > at:
        raise Wrong(
            f"'{' '.join(words[: min(at, 2)])}' cannot handle unexpected argument '{words[at]}'", at, help="remove it"
        )


def check_format(text: str, at: int) -> str:
    """A log-format as it is. Raises Wrong for one that cannot be read; which names there are is not known here."""
    try:
        parse_format(text)
    except FormatError as error:
        raise Wrong(f"'{text}' invalid log-format string ({error})", at, help="a percent sign is written %%") from None
    return text


def check_expression(text: str, at: int) -> str:
    """The same of a sample expression."""
    try:
        parse_expression(text)
    except FormatError as error:
        raise Wrong(f"'{text}' invalid expression ({error})", at, help="such as str(ok),upper") from None
    return text


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
                fields["port_expr"] = check_expression(value, at + 1)
            else:
                raise Wrong(
                    f"expects a valid TCP port (from range 1 to 65535) or a sample expression, got {value}",
                    at + 1,
                    help="write a port, such as port 80",
                )
        elif word == "addr":
            fields["addr"] = parse_address(value, at + 1)
        else:
            if word == "proto" and value not in MUXES[words[0]]:
                elsewhere = any(value in muxes for muxes in MUXES.values())
                text = (
                    f"invalid MUX protocol '{value}' for {words[0]}" if elsewhere else f"unknown MUX protocol '{value}'"
                )
                raise Wrong(f"'proto' : {text}", at + 1, help="known are " + ", ".join(MUXES[words[0]]))
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
        return TcpSendRule(place, 0, lf=check_format(text, 2), binary=is_binary, comment=comment)
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
        if word.endswith("-lf"):
            check_format(value, at + 1)
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
                content = check_format(argument(words, at - 1, "a value for the header"), at)
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
