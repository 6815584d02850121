"""The agent's `track_file` beside real keepalived 2.2.7: the weight in the file is what moves a node's priority.

Two nodes in namespaces: one of priority 50 that adds the agent's weight, one of 120. About five seconds of real time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from elections import inst
from risefall.agent.wire import Ask, Do
from risefall.cli.ctl_agent import ask_agent
from risefall.vrrp.trackers import Kind, Tracked
from vrrp_lab import Lab, NodePlan, missing

LONG_S = 20.0
BASE, OTHER = 50, 120


@contextmanager
def agent(folder: Path, file: Path) -> Iterator[str]:
    """An agent that keeps the file; its control socket."""
    path = folder / "s"
    (folder / "agent.toml").write_text(
        f'[agent]\nlisten = ["127.0.0.1:0"]\nsocket = "{path}"\n[service.app]\ntrack_file = "{file}"\ntrack_down = -254\n'
    )
    words = [sys.executable, "-m", "risefall", "agent", "-f", str(folder / "agent.toml")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            while "answering on" not in (line := process.stderr.readline()):
                assert line, "it ended early"
            yield str(path)
        finally:
            process.kill()


def test_the_weight_in_the_file_moves_the_priority() -> None:
    if why := missing():
        pytest.skip(why)
    tracked = Tracked(Kind.FILE, "weight", 1)
    plans = [NodePlan((inst(0, BASE),), (tracked,)), NodePlan((inst(1, OTHER),))]
    with tempfile.TemporaryDirectory() as made, Lab(Path(made), plans) as lab:
        folder = Path(made)

        def then(*wanted: tuple[str, str]) -> None:
            """Waits until each node's last line ends so."""

            def seen() -> bool:
                last = {one.node: one.line for one in lab.heard}
                return all(last.get(node, "").endswith(f" {end}") for node, end in wanted)

            lab.wait(seen)

        def order(do: Do, **more: int) -> None:
            said = ask_agent(control, Ask(do=do, service="app", **more), LONG_S)
            assert not said.error

        lab.start("n1")
        lab.start("n0")  # its file says 0
        then(("n1", f"MASTER {OTHER}"), ("n0", f"BACKUP {BASE}"))
        with agent(folder, folder / "n0" / "weight") as control:
            then(("n0", f"MASTER {BASE + 100}"), ("n1", f"BACKUP {OTHER}"))
            order(Do.WEIGHT, weight_pct=40)
            then(("n0", f"BACKUP {BASE + 40}"), ("n1", f"MASTER {OTHER}"))
            order(Do.RELEASE)
            then(("n0", f"MASTER {BASE + 100}"), ("n1", f"BACKUP {OTHER}"))
            order(Do.DRAIN)
            then(("n0", f"FAULT {BASE + 100}"), ("n1", f"MASTER {OTHER}"))
            order(Do.RELEASE)
            then(("n0", f"MASTER {BASE + 100}"), ("n1", f"BACKUP {OTHER}"))
