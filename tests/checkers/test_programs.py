"""MISC_CHECK's programs for real: how each ends, and what keepalived counts it as."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio
from checkers_kit import Stage, check, in_virtual_time, reading, server

from risefall.checkers import running
from risefall.checkers.pace import Ended, Misc
from risefall.checkers.running import Programs
from risefall.checkers.service import Checkers
from risefall.config.keepalived.model import Command
from risefall.engine.spawning import Children, Program
from risefall.vrrp.notify import Call

LONG_MS = 30_000
ENDS = (
    ("exit 0", LONG_MS, Ended(status=0)),
    ("exit 1", LONG_MS, Ended(status=1)),
    ("exit 255", LONG_MS, Ended(status=255)),
    ("kill -9 $$", LONG_MS, Ended(signal=9)),
    ("kill -15 $$", LONG_MS, Ended(signal=15)),
    ("exec sleep 60", 50, Ended(signal=15, timed_out=True)),
    ('trap "exit 0" TERM; : > ready; while :; do sleep 0.02; done', 1500, Ended(status=0)),
    ('trap "" TERM; while :; do sleep 0.02; done', 1500, Ended(signal=9, timed_out=True)),
)


def ended(path: Path, timeout_ms: int, said: list[str]) -> Ended:
    async def test() -> Ended:
        with Children() as children:
            programs = Programs(children, said.append)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(programs.run)
                program = Program(os.fsencode(path), [os.fsencode(path)], [b"PATH=/usr/bin:/bin"])
                found = await programs.one(program, timeout_ms)
                nursery.cancel_scope.cancel()
        return found

    return trio.run(test)


def script(folder: Path, text: str, head: str = "#!/bin/sh") -> Path:
    path = folder / "chk.sh"
    path.write_text(f"{head}\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("text", "timeout_ms", "how"), ENDS)
def test_how_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, timeout_ms: int, how: Ended) -> None:
    """SIGKILL comes sooner than keepalived's two seconds here."""
    monkeypatch.setattr(running, "TERM_TO_KILL_S", 0.3)
    monkeypatch.chdir(tmp_path)
    assert ended(script(tmp_path, text), timeout_ms, []) == how


def test_what_cannot_be_executed_counts_as_a_success(tmp_path: Path) -> None:
    said: list[str] = []
    assert ended(script(tmp_path, "", "#!/nowhere/sh"), LONG_MS, said) == Ended(status=0)
    assert said[0].startswith("Error exec-ing command ")


def test_a_killed_run_is_a_failure_and_not_a_time_out() -> None:
    """By a signal that nobody here has sent: told as such."""
    stage = Stage(reading(server(1, check("MISC_CHECK", "misc_path /bin/x"))))
    stage.pool.start()
    machine = stage.machines[0]
    assert isinstance(machine, Misc)
    machine.ended(Ended(signal=signal.SIGSEGV), 0)
    assert any("failed with retry disabled (due to signal 11)." in line for line in stage.lines)


def test_a_program_that_is_missing_is_left_out(tmp_path: Path) -> None:
    """As in keepalived: its server is up, since nothing checks it."""
    said: list[str] = []

    def heard(call: Call) -> None:
        raise AssertionError(call)

    config = reading(server(1, check("MISC_CHECK", f"misc_path \"{tmp_path}/none.sh a 'b c'\"")))
    checkers = Checkers(config, dict(os.environ), said.append, heard)

    async def start() -> None:
        checkers.start()

    in_virtual_time(start)
    assert f"Disabling misc script '{tmp_path}/none.sh' 'a' 'b c' since not found/accessible" in said
    view = checkers.views()[0].servers[0]
    assert (view.state, view.checked, view.checkers[0].why_not) == ("UP", False, "its program may not run")
    assert config.virtual_servers[0].real_servers[0].checkers[0].command == Command((f"{tmp_path}/none.sh", "a", "b c"))
