"""When each kind of checker is tried, and what turns it. The times are those that the real 2.2.7 was seen to keep."""

from __future__ import annotations

import pytest
from checkers_kit import FAIL, PASS, UNMADE, Stage, check, misc_of, reading, server, tried
from hypothesis import given
from hypothesis import strategies as st

from risefall.checkers.pace import Ended, Misc
from risefall.checkers.words import Attempt

URL = "url {\npath /\n}"
A_B = "url {\npath /a\n}\nurl {\npath /b\n}"
PACE = "delay_loop 2\nretry 2\ndelay_before_retry 0.5"
GONE = "Removing service [10.0.1.1]:tcp:80 from VS [10.0.0.1]:tcp:80"
BACK = "Adding service [10.0.1.1]:tcp:80 to VS [10.0.0.1]:tcp:80"


def stage_of(kind: str, *lines: str, pool: str = "", defaults: str = "", weight: int = 1) -> Stage:
    stage = Stage(reading(server(1, check(kind, PACE, *lines), lines=f"weight {weight}"), pool, defaults))
    stage.pool.start()
    stage.out.clear()
    return stage


F, P = FAIL, PASS
TIMES: dict[str, tuple[Stage, list[Attempt], list[float]]] = {
    "TCP retries while it is down, too": (
        stage_of("TCP_CHECK"), [F], [0, 2, 2.5, 3, 5, 5.5, 6, 8],
    ),
    "TCP that is up retries, then it is down": (stage_of("TCP_CHECK"), [P, F], [0, 2, 2.5, 3, 5, 5.5, 6, 8]),
    "TCP forgets failures at a pass": (stage_of("TCP_CHECK"), [P, F, F, P, F, F, P], [0, 2, 2.5, 3, 5, 5.5, 6, 8]),
    "HTTP does not retry while it is down": (stage_of("HTTP_GET", URL), [F], [0, 2, 4, 6, 8]),
    "HTTP that is up retries": (stage_of("HTTP_GET", URL), [P, F], [0, 2, 2.5, 3, 5, 7]),
    "HTTP: one url in each loop": (stage_of("HTTP_GET", A_B), [P], [0, 2, 4, 6, 8]),
    "HTTP: a failure in the second round waits for delay_before_retry": (
        stage_of("HTTP_GET", URL), [F, P, F, F, P, P], [0, 2, 4, 4.5, 5, 7],
    ),
    "fast_recovery: the first round at once": (stage_of("HTTP_GET", A_B, "fast_recovery"), [P], [0, 0, 2, 4, 6, 8]),
    "fast_recovery: the second round at once": (
        stage_of("HTTP_GET", URL, "fast_recovery"), [F, P, P], [0, 2, 2, 4, 6, 8],
    ),
    "SMTP retries from its first failure on": (stage_of("SMTP_CHECK"), [F], [0, 0.5, 1, 3, 3.5, 4, 6, 6.5, 7]),
    "DNS does not retry while it is down": (stage_of("DNS_CHECK"), [F], [0, 2, 4, 6, 8]),
    "DNS that is up retries": (stage_of("DNS_CHECK"), [P, F], [0, 2, 2.5, 3, 5, 7]),
    "UDP does not retry while it is down": (stage_of("UDP_CHECK"), [F], [0, 2, 4, 6, 8]),
    "UDP that is up retries": (stage_of("UDP_CHECK"), [P, F], [0, 2, 2.5, 3, 5, 7]),
    "what could not be made waits for the loop": (stage_of("TCP_CHECK"), [P, UNMADE, F], [0, 2, 4, 4.5, 5, 7, 7.5, 8]),
}  # fmt: skip


@pytest.mark.parametrize("name", TIMES)
def test_when_it_is_tried(name: str) -> None:
    stage, results, times = TIMES[name]
    assert tried(stage, results, for_s=8.25)[: len(times)] == times


def test_pauses_count_from_the_end() -> None:
    assert tried(stage_of("TCP_CHECK"), [PASS], for_s=8, takes_s=0.25) == [0, 2.25, 4.5, 6.75]


def test_those_of_misc_count_from_the_start() -> None:
    stage = stage_of("MISC_CHECK", "misc_path /bin/x")
    assert tried(stage, [Ended(status=0), Ended(status=1)], for_s=6.4, takes_s=0.25) == [0, 2, 2.5, 3, 5]


def test_misc_that_takes_longer_than_its_loop_starts_at_once() -> None:
    assert tried(stage_of("MISC_CHECK", "misc_path /bin/x"), [Ended(status=0)], for_s=8, takes_s=3) == [0, 3, 6]


SAID: dict[str, tuple[Stage, list[Attempt | Ended], list[str]]] = {
    "a first failure is down at once": (
        stage_of("TCP_CHECK"),
        [F],
        ["TCP_CHECK on service [10.0.1.1]:tcp:80 failed.", GONE, "Lost quorum 1-0=1 > 0 for VS [10.0.0.1]:tcp:80"],
    ),
    "a first pass is told, and turns nothing": (
        stage_of("TCP_CHECK"), [P, P], ["TCP connection to [10.0.1.1]:tcp:80 success."],
    ),
    "three failures of one that is up": (
        stage_of("TCP_CHECK"),
        [P, F, F, F],
        ["TCP connection to [10.0.1.1]:tcp:80 success.", "TCP_CHECK on service [10.0.1.1]:tcp:80 failed after 2 retries.",
         GONE, "Lost quorum 1-0=1 > 0 for VS [10.0.0.1]:tcp:80"],
    ),
    "HTTP says of its first failure that it was retried": (
        stage_of("HTTP_GET", URL),
        [F],
        ["HTTP_CHECK on service [10.0.1.1]:tcp:80 failed after 2 retries.", GONE,
         "Lost quorum 1-0=1 > 0 for VS [10.0.0.1]:tcp:80"],
    ),
    "HTTP comes back at its second pass": (
        stage_of("HTTP_GET", URL),
        [F, P, P],
        ["HTTP_CHECK on service [10.0.1.1]:tcp:80 failed after 2 retries.", GONE,
         "Lost quorum 1-0=1 > 0 for VS [10.0.0.1]:tcp:80",
         "HTTP status code success to [10.0.1.1]:tcp:80 url(/)", "HTTP status code success to [10.0.1.1]:tcp:80 url(/)",
         "Remote Web server [10.0.1.1]:tcp:80 succeed on service.", BACK,
         "Gained quorum 1+0=1 <= 1 for VS [10.0.0.1]:tcp:80"],
    ),
    "HTTP with alpha says nothing of a first failure": (stage_of("HTTP_GET", URL, "alpha"), [F], []),
    "SMTP is told once its retries are used up": (
        stage_of("SMTP_CHECK"),
        [F, F, F],
        ["SMTP_CHECK failed", GONE, "Lost quorum 1-0=1 > 0 for VS [10.0.0.1]:tcp:80"],
    ),
    "every failure, when asked": (
        stage_of("TCP_CHECK", "log_all_failures"),
        [P, F, P],
        ["TCP connection to [10.0.1.1]:tcp:80 success.", "TCP connection to [10.0.1.1]:tcp:80 failed."],
    ),
    "alpha: the first pass puts it in": (
        stage_of("TCP_CHECK", "alpha"),
        [F, F, F, P],
        ["TCP_CHECK on service [10.0.1.1]:tcp:80 failed.", "TCP connection to [10.0.1.1]:tcp:80 success.", BACK,
         "Gained quorum 1+0=1 <= 1 for VS [10.0.0.1]:tcp:80"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_what_is_said(name: str) -> None:
    stage, results, lines = SAID[name]
    for result in results:
        stage.machines[0].done(result, 0)  # type: ignore[arg-type]
    assert stage.lines == lines


def test_a_length_that_differs_is_told_when_it_changes() -> None:
    stage = stage_of("HTTP_GET", URL)
    lengths = ((5, 9), (5, 9), (4, 9), (9, 9), (5, 9))
    for declared, came in lengths:
        stage.machines[0].done(Attempt(PASS.verdict, PASS.why, length=(declared, came)), 0)
    told = [line.partition("content_length ")[2] for line in stage.lines if "content_length" in line]
    assert told == [f"({a}) does not match received bytes ({b})" for a, b in ((5, 9), (4, 9), (5, 9))]


# --- weights ------------------------------------------------------------------------------------------------------------

KILLED, LATE = Ended(signal=9), Ended(signal=15, timed_out=True)
WEIGHTS = (
    (4, "7 k k 9 20 0 0", [4, 5, 5, 5, 8, 19, 5, 5]),
    (10, "7 k k 9 20 0 0", [10, 5, 5, 5, 2, 13, 5, 5]),
    (4, "7 9 k k 9 7 0", [4, 5, 7, 7, 7, 7, 8, 7]),
    (4, "7 k k 7 9 0", [4, 5, 5, 5, 5, 8, 5]),
    (4, "0 k k 9 7 0", [4, 4, 4, 4, 7, 5, 4]),
    (4, "7 k 9 0 12", [4, 5, 5, 7, 4, 10]),
    (4, "7 s s 9 0 12", [4, 5, 5, 5, 8, 5, 11]),
    (3, "7 12 1 1 12 0 2", [3, 5, 10, 10, 3, 10, 3, 0]),
    (3, "7 1 1 7", [3, 5, 5, 3, 5]),
)
"""Of a server's weight, the results of its dynamic MISC_CHECK with one retry, and the weights that 2.2.7 gave it."""


@pytest.mark.parametrize(("weight", "results", "weights"), WEIGHTS)
def test_dynamic_weights_as_seen_on_2_2_7(weight: int, results: str, weights: list[int]) -> None:
    stage = stage_of("MISC_CHECK", "misc_path /bin/x", "misc_dynamic", "retry 1", weight=weight)
    seen = [stage.pool.servers[0].weight]
    for word in results.split():
        ended = {"k": KILLED, "s": LATE}.get(word) or Ended(status=int(word))
        misc_of(stage).ended(ended, 0)
        seen.append(stage.pool.servers[0].weight)
    assert seen == weights


def test_every_word_of_a_misc_check() -> None:
    """With all failures told: the first, those between, the last, by status, signal and time-out."""
    stage = stage_of("MISC_CHECK", "misc_path /bin/x", defaults="checker_log_all_failures")
    for ended in (Ended(status=0), Ended(status=4), KILLED, LATE, Ended(status=0)):
        misc_of(stage).ended(ended, 0)
    about = "Misc check for [[10.0.1.1]:tcp:80 VS [10.0.0.1]:tcp:80] by [/bin/x] "
    assert [line.removeprefix(about) for line in stage.lines if line.startswith(about)] == [
        "succeeded.",
        "failed, will do 2 retries (exited with status 4).",
        "failed on retry 1/2 (due to signal 9).",
        "timed out after 2 retries.",
        "succeeded.",
    ]


# --- against a model ------------------------------------------------------------------------------------------------------


def model(kind: str, passes: list[bool], retry: int, alpha: bool) -> list[bool]:
    """Up or down after each result: `retry N` of one that is up is `fall N+1`; the first failure of all but SMTP_CHECK counts for
    all of them (spec §11.2). owed: the passes that bring it back; HTTP_GET that has failed owes two."""
    up, failures, owed = not alpha, 0 if kind == "SMTP_CHECK" else retry, 1
    told = []
    for passed in passes:
        if passed:
            failures = 0
            owed -= not up
            up = up or owed == 0
        elif up:
            failures += 1
            up = failures <= retry
            owed = 1 if up or kind != "HTTP_GET" else 2
        elif kind == "HTTP_GET" and not told:
            owed = 2
        told.append(up)
    return told


LINES = {"HTTP_GET": URL, "MISC_CHECK": "misc_path /bin/x", "TCP_CHECK": "", "SMTP_CHECK": ""}


@pytest.mark.parametrize("kind", LINES)
@given(passes=st.lists(st.booleans(), max_size=40), retry=st.integers(0, 4), alpha=st.booleans())
def test_any_results_turn_as_the_model_says(kind: str, passes: list[bool], retry: int, alpha: bool) -> None:
    stage = Stage(reading(server(1, check(kind, f"retry {retry}", LINES[kind], "alpha" if alpha else ""))))
    stage.pool.start()
    machine, one = stage.machines[0], stage.pool.servers[0]
    told = []
    for passed in passes:
        if isinstance(machine, Misc):
            machine.ended(Ended(status=0 if passed else 1), 0)
        else:
            machine.done(PASS if passed else FAIL, 0)
        told.append(machine.up)
        assert (one.alive, one.failed) == (machine.up, int(not machine.up))
    assert told == model(kind, passes, retry, alpha)
