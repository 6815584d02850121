"""Tables of `ctl show`: names stay whole, what matters less goes where there is no room, a pipe gets everything."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from risefall.cli.console import PIPE_COLUMNS, Screen
from risefall.cli.ctl_show import SERVERS, STAT, table_of
from risefall.cli.fitted import Column, Fitted, fitted
from risefall.surfaces.peer import Row

LONG = "production-eu-central/checkout-7f9c6b5d4-x2k8p"
WHY = "Service Unavailable: the database behind it did not answer in time"


def row(name: str, status: str, **columns: str) -> Row:
    backend, _, server = name.partition("/")
    given = {"lastchg": "4711", "weight": "100", "scur": "12", "check_duration": "3", "stot": "123456"}
    return Row({"pxname": backend, "svname": server, "status": status, "type": "2", **given, **columns})


ROWS = (
    row(LONG, "DOWN", check_status="L7STS", check_code="503", last_chk=WHY),
    row("app/ap01", "UP", check_status="L7OK", check_code="200"),
    row("app/ap02", f"MAINT (via {LONG})"),
)


def printed(picture: Fitted, width: int) -> list[str]:
    """Its lines on a terminal of so many columns, without colours."""
    screen = Screen(highlight=False, width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    with screen.capture() as kept:
        screen.show(picture)
    return kept.get().splitlines()


@pytest.mark.parametrize(
    ("width", "heads", "left_out"),
    [
        (60, "server status", "since, weight, sessions, check, ms, reason"),
        (80, "server status check ms", "since, weight, sessions, reason"),
        (100, "server status since check reason", "weight, sessions, ms"),
        (120, "server status since weight sessions check reason", "ms"),
        (200, "server status since weight sessions check ms reason", ""),
    ],
)
def test_what_matters_less_goes_first(width: int, heads: str, left_out: str) -> None:
    lines = printed(table_of(ROWS, SERVERS), width)
    assert lines[0].split() == heads.split()
    told = f"not shown in {width} columns: {left_out}"
    assert " ".join(" ".join(lines).split()).endswith(told) if left_out else "not shown" not in lines[-1]
    assert all(len(line) <= max(width, len(LONG) + 17) for line in lines)
    assert sum(line.startswith(f"{LONG} ") for line in lines) == 1


def test_a_pipe_gets_everything_a_row_a_line() -> None:
    screen = Screen(highlight=False, width=PIPE_COLUMNS, file=io.StringIO())
    with screen.capture() as kept:
        screen.show(table_of(ROWS, SERVERS))
    lines = kept.get().splitlines()
    assert len(lines) == 1 + len(ROWS)
    assert lines[1].endswith(WHY)
    assert f"MAINT (via {LONG})" in lines[3]
    assert not any(line.endswith(" ") for line in lines)


def test_a_status_tells_whom_it_is_from_where_there_is_room() -> None:
    assert any("MAINT (via ...)" in line for line in printed(table_of(ROWS, SERVERS), 80))
    assert any(f"MAINT (via {LONG})" in line for line in printed(table_of(ROWS, SERVERS), 250))


def test_nothing_is_no_reason_to_fail() -> None:
    assert printed(table_of((), STAT), 80)[0].split() == ["name", "status"]
    assert printed(fitted(("a", "b"), [("", "x")], drop=("a",)), 80)[0].strip() == "b"


words = st.text("abcdefg-", min_size=1, max_size=50)


@given(st.lists(st.tuples(words, words, words), min_size=1, max_size=4), st.integers(8, 150))
def test_whatever_stays_is_whole(rows: list[tuple[str, str, str]], width: int) -> None:
    """Names, and what else does not fold; no line is longer than the screen but for the names."""
    names, others, texts = ([Text(text) for text in column] for column in zip(*rows, strict=True))
    picture = Fitted(
        [Column("name", names), Column("other", others, rank=2), Column("text", texts, rank=1, folds=True)]
    )
    shown, left_out = picture.fit(width)
    assert len(shown) + len(left_out) == 3
    lines = printed(picture, width)
    heads = [one.head for one in shown]
    for name, other, _ in rows:
        assert any(line.split()[:1] == [name] for line in lines)
        assert "other" not in heads or any(other in line.split() for line in lines)
    longest = max(len(name) for name, *_ in rows)
    assert all(len(line.rstrip()) <= max(width, longest, len("name")) for line in lines)
