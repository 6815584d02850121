"""Words of a line: spec §9.2, row by row; the fast way and the slow one say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.config.haproxy.lexer import Lexer, column, split
from risefall.config.text import Wrong

ENV = {"NAME": "v", "EMPTY": "", "LIST": "a b", ".LINE": "7"}

ROWS = [
    ("a b\tc", ["a", "b", "c"]),
    ("  a  ", ["a"]),
    ("a#b c", ["a"]),
    ("a\\#b", ["a#b"]),
    (r"a\ b", ["a b"]),
    (r"a\\b", ["a\\b"]),
    (r"\'\"", ["'\""]),
    (r"\n\r\t", ["\n\r\t"]),
    (r"\x41\x0a", ["A\n"]),
    (r"\xff", ["\udcff"]),
    (r"\q", ["\\q"]),
    ("a\\", ["a\\"]),
    ('"a b" c', ["a b", "c"]),
    ("'a b' c", ["a b", "c"]),
    ("\"a\"'b'c", ["abc"]),
    ("a''b", ["ab"]),
    ('""', [""]),
    ("'a\\n#$NAME'", ["a\\n#$NAME"]),
    ('"#"', ["#"]),
    ('"$NAME"', ["v"]),
    ('"${NAME}x"', ["vx"]),
    ('"${NONE-def}"', ["def"]),
    ('"${EMPTY-def}"', [""]),
    ('"$NONE"', [""]),
    ("$NAME ${NAME}", ["$NAME", "${NAME}"]),
    (r'"\$NAME"', ["$NAME"]),
    ('"${LIST[*]}"', ["a", "b"]),
    ('"$.LINE"', ["7"]),
    ("a\u00a0b", ["a\u00a0b"]),
    ("a\x0bb", ["a\x0bb"]),
    ("", []),
]


@pytest.mark.parametrize(("raw", "words"), ROWS)
def test_words(raw: str, words: list[str]) -> None:
    assert split(raw, ENV) == words


@pytest.mark.parametrize(
    ("raw", "text", "at"),
    [
        ('a "b', "unmatched quote", 3),
        ("a 'b", "unmatched quote", 3),
        (r"a \x4", "hexadecimal", 3),
        (r"a \xzz", "hexadecimal", 3),
        ('"${NAME"', "unmatched brace", 3),
        ('"$1"', "forbidden first char", 3),
    ],
)
def test_what_does_not_end_is_refused(raw: str, text: str, at: int) -> None:
    with pytest.raises(Wrong, match=text) as raised:
        split(raw, ENV)
    assert raised.value.column == at


def test_columns() -> None:
    raw = '  server  "a b" c'
    assert [column(raw, at, {}) for at in range(4)] == [3, 11, 17, 19]


def test_a_condition_keeps_its_blanks() -> None:
    assert Lexer(".if  streq(a, b) # why", {}, rest_from=1).words() == [".if", "streq(a, b)"]


@given(st.text(alphabet=" \tabc:.-_/@1", max_size=60))
def test_both_ways_agree(raw: str) -> None:
    assert split(raw, {}) == Lexer(raw, {}).words()


@given(st.text(max_size=80))
def test_any_text_gives_words_or_wrong(raw: str) -> None:
    try:
        words = split(raw, ENV)
    except Wrong:
        return
    assert all(isinstance(word, str) for word in words)
