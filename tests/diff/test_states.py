"""haproxy 2.6 and risefall, side by side on equal backends: the same states, statuses and log lines.

About 25 seconds in real time, for all scenarios together: they run at the same time, a backend each. What haproxy
does is recorded beside this file; so a change of haproxy is told apart from a change of ours, and risefall is
compared with the recording where there is no haproxy 2.6.

Trap 7 of the spec (2.6 enforces a short `timeout check` late) is imitated with `--as 2.6`, so nothing is left out.
"""

from __future__ import annotations

from statistics import median

import pytest

from conftest import GROUPS, Recording, Runs
from harness import TOLERANCE_MS, Scenario, differences

SCENARIOS = [scenario for group in GROUPS.values() for scenario in group]
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


def test_names_are_unique() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


@every_scenario
def test_haproxy_does_as_recorded(scenario: Scenario, runs: Runs, recording: Recording, version: str) -> None:
    """The scenario still shows what it was written to show."""
    if version != recording.version:
        pytest.skip(f"recorded with {recording.version}, this is {version}")
    told = differences(
        runs.outcome("haproxy", scenario.name), recording.outcomes[scenario.name], held_up_ms=runs.held_up_ms
    )
    assert not told, "\n".join(["haproxy (ours) against the recording (theirs)", *told])


@every_scenario
def test_risefall_does_as_haproxy(scenario: Scenario, runs: Runs, recording: Recording) -> None:
    """The same sequence of states for each server, and the same lines."""
    ours = runs.outcome("risefall", scenario.name)
    live = "haproxy" in runs.outcomes
    theirs = runs.outcome("haproxy", scenario.name) if live else recording.outcomes[scenario.name]
    told = differences(ours, theirs, held_up_ms=runs.held_up_ms)
    assert not told, "\n".join([f"spec {scenario.spec}: risefall (ours) against haproxy (theirs)", *told])


@pytest.mark.parametrize("group", GROUPS)
def test_first_checks_come_at_the_same_time(group: str, runs: Runs, version: str) -> None:
    """Spec 2.2: the start-up stagger. In the group of agents it is seconds long.

    A hiccup of the machine may hold up one check or another; a wrong rule holds up many.
    """
    if group not in runs.starts_ms["risefall"]:
        pytest.fail(runs.errors["risefall"])
    ours, theirs = runs.starts_ms["risefall"][group], runs.starts_ms["haproxy"][group]
    both = ours.keys() & theirs.keys()
    assert len(both) > 0.8 * len(theirs)
    first = median(ours[name] - theirs[name] for name in both)  # the one that began may have been held up itself
    most = max(TOLERANCE_MS, runs.held_up_ms)
    apart = {name: (ours[name], theirs[name]) for name in both if abs(ours[name] - theirs[name] - first) > most}
    assert len(apart) <= len(both) // 50, (
        f"haproxy {version}: milliseconds from the first check of all, ours and theirs: {apart}"
    )
