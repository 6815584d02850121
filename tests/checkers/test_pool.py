"""Quorum, hysteresis, sorry servers and calls of a pool; against a model for any weights and turns."""

from __future__ import annotations

import pytest
from checkers_kit import FAIL, PASS, Stage, check, reading, server
from hypothesis import given
from hypothesis import strategies as st

TCP = check("TCP_CHECK", "retry 0")


def pool_of(*weights: int, lines: str = "", each: str = "", defaults: str = "") -> Stage:
    text = "".join(server(number + 1, TCP, lines=f"weight {w}\n{each}") for number, w in enumerate(weights))
    return Stage(reading(text, lines, defaults))


def turn(stage: Stage, number: int, up: bool) -> None:
    stage.machines[number].done(PASS if up else FAIL, 0)


def quorums(stage: Stage) -> list[str]:
    return [line.partition(" for VS")[0] for line in stage.lines if "quorum" in line]


QUORUMS: tuple[tuple[str, tuple[int, ...], str, list[str]], ...] = (
    # lines of the pool, weights, who turns (capital: up), what is said of the quorum
    ("", (1, 1), "ab A", ["Gained quorum 1+0=1 <= 2", "Lost quorum 1-0=1 > 0", "Gained quorum 1+0=1 <= 1"]),
    (
        "quorum 3\nhysteresis 1", (2, 2, 2), "abc AB",
        ["Gained quorum 3+1=4 <= 6", "Lost quorum 3-1=2 > 0", "Gained quorum 3+1=4 <= 4"],
    ),
    ("quorum 5", (2, 2, 2), "a bc A B C", ["Gained quorum 5+0=5 <= 6", "Lost quorum 5-0=5 > 4", "Gained quorum 5+0=5 <= 6"]),
    ("quorum 9", (1, 1), "a", ["Gained quorum 2+0=2 <= 2", "Lost quorum 2-0=2 > 1"]),
    ("quorum 2\nhysteresis 9", (1, 1), "a", []),
    ("quorum 2\nhysteresis 1", (2, 2), "ab A B", ["Gained quorum 2+1=3 <= 4", "Lost quorum 2-1=1 > 0", "Gained quorum 2+1=3 <= 4"]),
    ("", (0, 0), "a A", []),
)  # fmt: skip


@pytest.mark.parametrize(("lines", "weights", "turns", "said"), QUORUMS)
def test_quorum(lines: str, weights: tuple[int, ...], turns: str, said: list[str]) -> None:
    stage = pool_of(*weights, lines=lines)
    stage.pool.start()
    for letter in turns.replace(" ", ""):
        turn(stage, "abc".index(letter.lower()), letter.isupper())
    assert quorums(stage) == said


def test_a_sorry_server_takes_the_place_of_all() -> None:
    stage = pool_of(1, 1, lines="quorum 2\nsorry_server 10.0.9.9 80")
    stage.pool.start()
    stage.out.clear()
    first, second = stage.pool.servers
    turn(stage, 0, False)
    assert stage.lines[-3:] == [
        "Lost quorum 2-0=2 > 1 for VS [10.0.0.1]:tcp:80",
        "Adding sorry server [10.0.9.9]:tcp:80 to VS [10.0.0.1]:tcp:80",
        "Removing alive servers from the pool for VS [10.0.0.1]:tcp:80",
    ]
    assert second.alive
    assert not stage.pool.in_pool(second)
    turn(stage, 0, True)
    assert stage.lines[-2:] == [
        "Removing sorry server [10.0.9.9]:tcp:80 from VS [10.0.0.1]:tcp:80",
        "Adding alive servers to the pool for VS [10.0.0.1]:tcp:80",
    ]
    assert stage.pool.in_pool(first)
    assert stage.pool.in_pool(second)


def test_it_serves_from_the_start_where_nobody_is_up_yet() -> None:
    stage = pool_of(1, lines="alpha\nsorry_server 10.0.9.9 80\nquorum_down /bin/down")
    stage.pool.start()
    assert stage.lines == [
        "Adding sorry server [10.0.9.9]:tcp:80 to VS [10.0.0.1]:tcp:80",
        "Removing alive servers from the pool for VS [10.0.0.1]:tcp:80",
    ]
    stage = pool_of(1, lines="alpha\nquorum_down /bin/down")
    stage.pool.start()
    assert stage.calls == []


CALLS = "notify_up /bin/up\nnotify_down /bin/down"
POOL_CALLS = "quorum_up /bin/enough\nquorum_down /bin/lacking"


def test_calls_and_their_order() -> None:
    fifo = "lvs_notify_fifo /run/fifo"
    stage = pool_of(1, lines=POOL_CALLS, each=CALLS, defaults=fifo)
    stage.pool.start()
    assert stage.calls == ["/bin/enough", "VS [10.0.0.1]:tcp:80 UP"]
    turn(stage, 0, False)
    assert stage.calls == [
        "/bin/down", "RS [10.0.1.1]:tcp:80 [10.0.0.1]:tcp:80 DOWN", "/bin/lacking", "VS [10.0.0.1]:tcp:80 DOWN",
    ]  # fmt: skip
    turn(stage, 0, True)
    assert stage.calls[::2] == ["/bin/up", "/bin/enough"]
    stage.pool.stop()
    assert stage.calls == []


def test_rs_init_notifies_and_omega() -> None:
    stage = pool_of(1, lines=f"{POOL_CALLS}\nomega", each=CALLS, defaults="rs_init_notifies")
    stage.pool.start()
    assert stage.calls == ["/bin/up", "/bin/enough"]
    stage.pool.stop()
    assert stage.calls == ["/bin/down", "/bin/lacking"]


def test_alpha_tells_of_a_first_failure_too() -> None:
    stage = pool_of(1, lines="alpha", each=CALLS)
    stage.pool.start()
    turn(stage, 0, False)
    assert stage.calls == ["/bin/down"]


MAILS = "smtp_server 127.0.0.1\nnotification_email {\na@example.com\n}"


def test_mails_need_a_server_and_an_address() -> None:
    stage = pool_of(1, lines="smtp_alert", defaults=MAILS)
    stage.pool.start()
    assert stage.calls == ["[t] Virtualserver [10.0.0.1]:tcp:80 - UP => Starting with quorum up 1+0=1 <= 1 <="]
    turn(stage, 0, False)
    assert stage.calls == [
        "[t] Virtualserver [10.0.0.1]:tcp:80 - DOWN => Lost quorum 1+0=1 <= 0 <=",
        "[t] Realserver [10.0.1.1]:tcp:80 of virtual server [10.0.0.1]:tcp:80 - DOWN => TCP CHECK failed on service <=",
    ]
    stage = pool_of(1, lines="smtp_alert")
    stage.pool.start()
    assert stage.calls == []


def test_a_server_is_up_when_none_of_its_checkers_is_down() -> None:
    stage = Stage(reading(server(1, TCP, TCP)))
    stage.pool.start()
    (one,) = stage.pool.servers
    for number, up, alive in (
        (0, False, False),
        (1, False, False),
        (0, True, False),
        (1, True, True),
        (1, False, False),
    ):
        turn(stage, number, up)
        assert one.alive is alive


def test_inhibit_on_failure_keeps_it_without_weight() -> None:
    stage = pool_of(3, each="inhibit_on_failure")
    stage.pool.start()
    turn(stage, 0, False)
    assert "Disabling service [10.0.1.1]:tcp:80 of VS [10.0.0.1]:tcp:80" in stage.lines
    assert not stage.pool.in_pool(stage.pool.servers[0])
    turn(stage, 0, True)
    assert "Enabling service [10.0.1.1]:tcp:80 of VS [10.0.0.1]:tcp:80" in stage.lines


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(0, 12),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30),
)
def test_any_pool_as_its_rule_says(
    weights: list[int], quorum: int, hysteresis: int, alpha: bool, turns: list[tuple[int, bool]]
) -> None:
    """Up when the sum reaches quorum + hysteresis, down when it is 0 or below quorum - hysteresis (spec §11.4)."""
    lines = f"quorum {quorum}\nhysteresis {hysteresis}\nsorry_server 10.0.9.9 80\n" + ("alpha" if alpha else "")
    stage = pool_of(*weights, lines=lines)
    config = stage.pool.config
    stage.pool.start()
    alive = [not alpha] * len(weights)
    enough = 0
    up = False
    for at, passes in [(-1, False), *((at % len(weights), passes) for at, passes in turns)]:
        if at >= 0:
            turn(stage, at, passes)
            alive[at] = passes
        enough = sum(weight for weight, is_up in zip(weights, alive, strict=True) if is_up)
        if up:
            up = enough > 0 and enough >= config.quorum - config.hysteresis
        else:
            up = enough >= config.quorum + config.hysteresis
        assert stage.pool.weight == enough
        assert stage.pool.quorum_up is up
        assert stage.pool.sorry_alive is not up
