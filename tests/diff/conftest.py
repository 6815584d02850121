"""Runs every scenario once a session, haproxy and risefall side by side; the tests only compare."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from haproxy_kit import haproxy_version, want_haproxy
from harness import Outcome, Scenario, Side, run_sides
from harness_agent import AGENT_CHECKS, AGENT_SEND
from harness_aims import AIM_COMMANDS
from harness_api import API
from harness_http import HTTP
from harness_state import STATES

RECORDED = Path(__file__).with_name("recorded.jsonl")
GROUPS: dict[str, list[Scenario]] = {
    "states": [*HTTP, *STATES, *AIM_COMMANDS, *API],
    "agents": AGENT_CHECKS,
    "agent-send": AGENT_SEND,
}
"""One process each, and one after the other: two seconds to nine each."""


class Recording(msgspec.Struct):
    """What a haproxy of this version did, for machines without one. The file: the version, then a scenario a line."""

    version: str
    outcomes: dict[str, Outcome]

    def write(self) -> None:
        """Replaces the file."""
        encode = msgspec.json.Encoder(order="sorted").encode
        lines = [encode(self.version), *(encode(pair) for pair in self.outcomes.items())]
        RECORDED.write_bytes(b"\n".join(lines) + b"\n")

    @classmethod
    def read(cls) -> Recording:
        """The file as it stands."""
        version, *lines = RECORDED.read_bytes().splitlines()
        pairs = msgspec.json.Decoder(tuple[str, Outcome])
        return cls(msgspec.json.decode(version, type=str), dict(map(pairs.decode, lines)))


class Runs(msgspec.Struct):
    """Outcomes by program and scenario, and why there are none; first checks by program and group.

    held_up_ms: the longest that a look at the states waited, on either side.
    """

    outcomes: dict[str, dict[str, Outcome]]
    errors: dict[str, str]
    unfinished: dict[str, dict[str, str]]
    starts_ms: dict[str, dict[str, dict[str, int]]]
    held_up_ms: int = 0

    def outcome(self, program: str, scenario: str) -> Outcome:
        """Fails the test where the program did not come to the scenario's end."""
        if scenario in self.unfinished[program]:
            pytest.fail(f"{program}: {self.unfinished[program][scenario]}")
        if scenario not in self.outcomes[program]:
            pytest.fail(f"{program}: {self.errors.get(program, 'no outcome')}")
        return self.outcomes[program][scenario]


@pytest.fixture(scope="session")
def version() -> str:
    """The version of the haproxy that runs; skips where there is none."""
    return want_haproxy()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All scenarios on both sides; on risefall alone where there is no haproxy 2.6."""
    programs = ["haproxy", "risefall"] if haproxy_version() else ["risefall"]
    runs = Runs({p: {} for p in programs}, {}, {p: {} for p in programs}, {p: {} for p in programs})
    for group, scenarios in GROUPS.items():
        for program, side in run_sides(programs, scenarios, tmp_path_factory.mktemp(group)).items():
            if isinstance(side, Side):
                runs.outcomes[program] |= side.outcomes
                runs.unfinished[program] |= side.unfinished
                runs.starts_ms[program][group] = side.starts_ms()
                runs.held_up_ms = max(runs.held_up_ms, int(side.slowest_poll_s * 1000))
            else:
                runs.errors[program] = f"{side}"
    if os.environ.get("RISEFALL_RECORD") and "haproxy" in programs:
        Recording(haproxy_version(), runs.outcomes["haproxy"]).write()
    return runs


@pytest.fixture(scope="session")
def recording(runs: Runs) -> Recording:
    """What haproxy did when it was recorded (RISEFALL_RECORD=1 records anew)."""
    return Recording.read()
