"""`risefall run --scripts` over a reload: who goes on, who begins anew, and what is said of those that are gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from risefall.cli.main import group
from risefall.config.keepalived.model import Config
from risefall.daemon.scripts import Scripts, read_scripts
from risefall.errors import StartError

DEADLINE_S = 20.0
BIN = Path(sys.executable).parent


def conf(folder: Path, **scripts: str) -> Path:
    """One vrrp_script each, with these lines."""
    path = folder / "scripts.conf"
    path.write_text("".join(f"vrrp_script {name} {{\n  {lines}\n}}\n" for name, lines in scripts.items()))
    return path


def config(folder: Path, **scripts: str) -> Config:
    return read_scripts(str(conf(folder, **scripts)), lambda line: None)


class Heard:
    """A publisher that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def publish_script(self, name: str, good: bool, weight: int, reason: str) -> None:
        self.told.append((name, good))

    def forget_script(self, name: str) -> None:
        self.told.append((name, "forgotten"))

    async def until(self, *wanted: tuple[str, object]) -> None:
        with trio.fail_after(DEADLINE_S):
            while not set(wanted) <= set(self.told):
                await trio.sleep(0.01)
        self.told.clear()


def test_what_a_reload_keeps(tmp_path: Path) -> None:
    """A script as it was goes on with the run that is under way; another command acts at its first result; one that is gone ends."""
    held, sleeper = tmp_path / "held", tmp_path / "sleeper.sh"
    sleeper.write_text(f"#!/bin/sh\necho $$ >> {held}\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done\n")
    sleeper.chmod(0o755)
    same = f'script "{sleeper}"\n  interval 1\n  timeout 60'
    heard = Heard()

    async def scenario() -> None:
        scripts = Scripts(
            config(tmp_path, same=same, turns='script "/bin/true"\n  fall 3', gone=f'script "{sleeper} gone"'),
            [heard],
            lambda line: None,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scripts.run)
            await heard.until(("turns", True))
            with trio.fail_after(DEADLINE_S):
                while not held.exists() or len(held.read_text().split()) < 2:
                    await trio.sleep(0.01)
            pids = {int(word) for word in held.read_text().split()}
            told = scripts.reload(
                config(tmp_path, same=same, turns='script "/bin/false"\n  fall 3', new='script "/bin/true"')
            )
            assert told == "1 scripts as before, 1 changed, 1 new, 1 gone"
            assert ("gone", "forgotten") in heard.told
            await heard.until(("turns", False), ("new", True))
            left = {pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()}
            with trio.fail_after(DEADLINE_S):
                while len(left) > 1:
                    await trio.sleep(0.01)
                    left = {pid for pid in left if Path(f"/proc/{pid}/cmdline").exists()}
            with pytest.raises(StartError, match="bad cannot run"):
                scripts.reload(config(tmp_path, bad='script "/nonexistent/x"'))
            assert {job.name for job in scripts.jobs()} == {"same", "turns", "new"}
            (tmp_path / "go").write_text("")
            await heard.until(("same", True))
            nursery.cancel_scope.cancel()

    trio.run(scenario)
    first = held.read_text().split()[0:2]
    assert len(set(first)) == 2, "the script that did not change was started once before it ended"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    conf(tmp_path, stays='script "/bin/true"\n  interval 1', goes='script "/bin/true"')
    words = [str(BIN / "risefall"), "run", "--scripts", f"{tmp_path}/scripts.conf", "--socket", f"{tmp_path}/run.sock"]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(words, stdout=log, stderr=log)
    yield running, tmp_path
    running.terminate()
    running.wait(timeout=DEADLINE_S)


def until(seen: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not seen():
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)


def track(folder: Path, name: str) -> int:
    environment = {**os.environ, "RISEFALL_SOCKET": f"{folder}/run.sock"}
    done = subprocess.run([BIN / "risefall-track", "script", name], env=environment, capture_output=True, check=False)
    return done.returncode


def test_sighup_reads_the_scripts_again(daemon: tuple[subprocess.Popen[bytes], Path]) -> None:
    """risefall-track is answered by the new list; a file that cannot be used changes nothing."""
    running, folder = daemon
    until(lambda: (track(folder, "stays"), track(folder, "goes")) == (0, 0), folder)
    conf(folder, stays='script "/bin/true"\n  interval 1', comes='script "/bin/false"\n  interval 1')
    running.send_signal(signal.SIGHUP)
    until(lambda: "reloaded: 1 scripts as before, 0 changed, 1 new, 1 gone" in (folder / "log").read_text(), folder)
    until(lambda: "failed (exited with status 1)" in (folder / "log").read_text(), folder)
    assert (track(folder, "stays"), track(folder, "goes"), track(folder, "comes")) == (0, 1, 1)
    conf(folder, stays="script /nonexistent/x")
    running.send_signal(signal.SIGHUP)
    until(lambda: "not reloaded, everything goes on as it was" in (folder / "log").read_text(), folder)
    assert track(folder, "stays") == 0
    words = ["ctl", "show", "vrrp", "--json", "--socket", f"{folder}/run.sock"]
    result = CliRunner().invoke(group, words, catch_exceptions=False)
    found: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(one["name"], one["state"]) for one in found} == {("stays", "GOOD"), ("comes", "BAD")}
    for words, code, text in (
        (["ctl", "show", "vrrp", "comes"], 0, "comes   BAD"),
        (["ctl", "show", "vrrp", "nobody"], 2, "has no 'nobody'"),
        (["ctl", "raw", "show vrrp"], 0, "script comes - - - - - BAD 0 exit_1 -"),
        (["ctl", "raw", "show vrrp xml"], 1, "only supports 'json'"),
    ):
        result = CliRunner().invoke(group, [*words, "--socket", f"{folder}/run.sock"])
        assert (result.exit_code, text in result.output) == (code, True), result.output
