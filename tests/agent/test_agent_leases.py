"""Orders of an operator: how they stand, end, and outlive the agent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from risefall.agent import keep
from risefall.agent.keep import read_kept, write_kept
from risefall.agent.leases import Book, Order, OrderWord, Slot, length, make_order, rows

S = 1_000_000_000
NOW = 1_800_000_000 * S


def order(word: OrderWord = OrderWord.DRAIN, *, now: int = NOW, lease_s: int | None = 60, **more: object) -> Order:
    lease_ms = None if lease_s is None else lease_s * 1000
    return make_order("app", word, now, lease_ms=lease_ms, **more)  # type: ignore[arg-type]


def test_a_lease_ends_on_time_and_is_told_once() -> None:
    book = Book([order()])
    assert book.next_end_ns() == NOW + 60 * S
    assert len(book.standing("app", NOW + 60 * S - 1)) == 1
    assert book.standing("app", NOW + 60 * S) == ()
    assert [each.word for each in book.expire(NOW + 60 * S)] == [OrderWord.DRAIN]
    assert book.expire(NOW + 61 * S) == []


def test_without_a_lease_it_stands_until_it_is_released() -> None:
    book = Book([order(lease_s=None)])
    assert book.expire(NOW + 10**9 * S) == []
    assert book.release("app", Slot.STATE) is not None
    assert book.release("app", Slot.STATE) is None


def test_a_newer_order_takes_the_place_of_an_older_one_of_its_kind() -> None:
    book = Book()
    assert book.give(order()) is None
    before = book.give(order(OrderWord.MAINT))
    assert before is not None
    assert before.word is OrderWord.DRAIN
    assert book.give(order(OrderWord.WEIGHT, weight_pct=50)) is None
    assert [each.word for each in book.standing("app", NOW)] == [OrderWord.MAINT, OrderWord.WEIGHT]
    assert book.standing("db", NOW) == ()


def test_what_is_about_to_stand_is_kept_and_counts_for_nobody_yet() -> None:
    book = Book([order(OrderWord.WEIGHT, weight_pct=5)])
    drain, maint = order(), order(OrderWord.MAINT)
    book.announce("app", Slot.STATE, drain)
    book.announce("app", Slot.WEIGHT, None)
    assert book.orders() == [drain]
    assert [each.word for each in book.standing("app", NOW)] == [OrderWord.WEIGHT]
    book.announce("app", Slot.STATE, maint)  # a second operator, before the first one's order has come
    book.give(drain)
    book.release("app", Slot.WEIGHT)
    assert (book.orders(), book.standing("app", NOW)) == ([maint], (drain,))
    book.give(maint)
    assert (book.orders(), book.standing("app", NOW)) == ([maint], (maint,))
    assert book.release("app", Slot.STATE) is maint
    assert book.orders() == []


def test_a_clock_set_back_does_not_lengthen_a_lease_beyond_its_length() -> None:
    book = Book([order()])
    earlier = NOW - 86_400 * S
    assert book.expire(earlier) == []
    assert book.next_end_ns() == earlier + 60 * S


@pytest.mark.parametrize(
    ("word", "options"),
    [
        (OrderWord.WEIGHT, {}), (OrderWord.DRAIN, {"weight_pct": 5}), (OrderWord.WEIGHT, {"weight_pct": 101}),
        (OrderWord.DRAIN, {"lease_s": 0}),
    ],
)  # fmt: skip
def test_what_is_no_order(word: OrderWord, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"weight|lease"):
        order(word, **options)


def test_orders_outlive_the_agent(tmp_path: Path) -> None:
    path = str(tmp_path / "orders.json")
    book = Book([order(who="ann", reason="deploy 41\nsecond line"), order(OrderWord.WEIGHT, weight_pct=5)])
    write_kept(path, book.orders())
    found, warning = read_kept(path, list[Order])
    assert warning == ""
    assert found == book.orders()
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["orders.json"]


def test_no_file_is_no_orders(tmp_path: Path) -> None:
    assert read_kept(str(tmp_path / "orders.json"), list[Order]) == (None, "")


@pytest.mark.parametrize("data", [b"", b"[{", b"\xff\xfe", b'[{"service": 1}]', b'{"a": 1}'])
def test_a_broken_file_is_put_aside_with_a_warning(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "orders.json"
    path.write_bytes(data)
    found, warning = read_kept(str(path), list[Order])
    assert found is None
    assert "orders.json.bad" in warning
    assert os.listdir(tmp_path) == ["orders.json.bad"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "orders.json")
    write_kept(path, [order()])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keep.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_kept(path, [])
    assert os.listdir(tmp_path) == ["orders.json"]
    assert read_kept(path, list[Order])[0] == [order()]


def test_the_table() -> None:
    book = Book([order(who="ann", reason="deploy 41"), order(OrderWord.WEIGHT, weight_pct=5, lease_s=None)])
    assert rows(book.orders(), NOW + 15 * S) == [
        ("app", "drain", "15s", "45s", "ann", "deploy 41"),
        ("app", "weight 5%", "15s", "-", "-", "-"),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (59, "59s"), (61, "1m01s"), (3700, "1h01m"), (90_000, "1d01h")]
)
def test_lengths(seconds: int, text: str) -> None:
    assert length(seconds * S) == text
