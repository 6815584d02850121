"""Words of a line of keepalived.conf: the plain splitting, the shell-like one of commands, comments, C's numbers.

Source: spec/keepalived-track.md §1.2, §7.1; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

import re

from risefall.config.text import Wrong

BLANKS = " \t\f\n\r\v"
PLAIN = re.compile(r'[^ \t\f\n\r\v"]+')
SPECIAL = re.compile(r'[!#"\\]')
HEX = re.compile(r"[0-9a-fA-F]+")
OCTAL = re.compile(r"[0-7]{1,3}")
LETTERS = {"a": "\a", "b": "\b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
LONG = re.compile(r"[ \t\n\v\f\r]*([+-]?)(?:(0[xX])([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")
DECIMAL = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
DIGITS_MAX = 24
"""More than any C number has: longer ones only have to stay too large."""


def split(text: str) -> tuple[list[str], bool]:
    """Words between blanks, and whether a quote has no end, which cuts the rest off.

    `"…"` is one word, and ends the one before it.
    """
    if '"' not in text:
        return PLAIN.findall(text), False
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in BLANKS:
            at += 1
        elif text[at] == '"':
            end = text.find('"', at + 1)
            if end < 0:
                return words, True
            words.append(text[at + 1 : end])
            at = end + 1
        else:
            found = PLAIN.match(text, at)
            assert found is not None
            words.append(found.group())
            at = found.end()
    return words, False


def shell_words(text: str) -> list[str]:
    """Words as a shell groups them, without a shell: quotes, escapes, nothing else (spec §1.2).

    Raises Wrong for a quote or an escape that does not end.
    """
    words: list[str] = []
    word: list[str] = []
    quote, open_ = "", False
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            piece, at = _escape(text, at + 1)
            word.append(piece)
            open_ = True
            continue
        if quote:
            if char == quote:
                quote = ""
            else:
                word.append(char)
        elif char in "'\"":
            quote, open_ = char, True
        elif char in BLANKS:
            if open_:
                words.append("".join(word))
            word, open_ = [], False
        else:
            word.append(char)
            open_ = True
        at += 1
    if quote:
        raise Wrong(f"String '{text}': missing terminating {quote}", help=f"close it with another {quote}")
    if open_:
        words.append("".join(word))
    return words


def _escape(text: str, at: int) -> tuple[str, int]:
    """What stands behind a backslash, and where it ends."""
    if at >= len(text):
        raise Wrong(f"Missing escape char at end: '{text}'", help="write \\\\ for a backslash")
    char = text[at]
    if char == "x" and (digits := HEX.match(text, at + 1)):
        return _byte(int(digits.group()[-2:], 16)), digits.end()
    if char == "c" and at + 1 < len(text):
        return chr(ord(text[at + 1]) & 0x1F), at + 2
    if digits := OCTAL.match(text, at):
        return _byte(int(digits.group(), 8) & 0xFF), digits.end()
    return LETTERS.get(char, char), at + 1


def _byte(value: int) -> str:
    return chr(value) if value < 0x80 else chr(0xDC00 + value)


def uncomment(text: str) -> tuple[str, bool]:
    """A line without its comment and its outer blanks, and whether a quote in it stays open.

    `#` and `!` begin a comment anywhere but in double quotes; `\\#` and `\\!` do not. A backslash at the end stays, and
    so does one at the end of a comment.
    """
    text = text.lstrip(" \t")
    if not SPECIAL.search(text):
        return text.rstrip(" \t"), False
    out: list[str] = []
    quoted, comment, continued = False, False, False
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        if char == "\\":
            if at + 1 == end:
                continued = True
                break
            escaped = not quoted and text[at + 1] in "#!"
            if not comment:
                out.append(text[at + escaped : at + 2])
            at += 2
            continue
        if char == '"' and not comment:
            quoted = not quoted
        elif char in "#!" and not quoted:
            comment = True
        if not comment:
            out.append(char)
        at += 1
    return "".join(out).rstrip(" \t") + ("\\" if continued else ""), quoted


def strtol(text: str, at: int = 0) -> tuple[int, int]:
    """A C number at a place (base 0: 0x10, 010 and 16), and where it ends; 0 and the same place without one."""
    found = LONG.match(text, at)
    if not found:
        return 0, at
    sign, _, hexadecimal, octal, decimal = found.groups()
    if hexadecimal is not None:
        value = int(hexadecimal[-16:], 16)
    else:
        value = int(octal[:DIGITS_MAX], 8) if octal is not None else int(decimal[:DIGITS_MAX])
    return -value if sign == "-" else value, found.end()
