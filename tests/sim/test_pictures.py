"""Pictures are written, one for each question that the configuration asks; the curves are HAProxy's."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from risefall.cli.main import group
from risefall.sim.pictures import maxconn_at

CONFIG = """
defaults
  timeout check 1s
  fullconn 400
backend app
  option httpchk
  server a 10.0.0.1:80 check minconn 5 maxconn 100 slowstart 30s
  server b 10.0.0.2:80 check
"""


@pytest.mark.parametrize(
    ("connections", "allowed"), [(0, 5), (20, 5), (21, 5), (24, 6), (200, 50), (399, 99), (400, 100), (900, 100)]
)
def test_the_limit_that_moves(connections: int, allowed: int) -> None:
    """max(minconn, connections * maxconn / fullconn), maxconn from fullconn on (2.6, srv_dynamic_maxconn)."""
    assert maxconn_at(connections, 5, 100, 400) == allowed


def test_a_run_and_a_sweep_write_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for words in (["--span", "60d"], ["--span", "5d", "--sweep", "inter=1s..3s", "--jobs", "1"]):
        done = CliRunner().invoke(group, ["simulate", "-f", "-", "--plot", str(tmp_path), *words], input=CONFIG)
        assert done.exit_code == 0, done.output
    names = {"detection.png", "spread.png", "maxconn.png", "slowstart.png", "pareto.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000 for path in tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "file").write_text("")
    words = ["simulate", "-f", "-", "--span", "1d", "--plot", str(tmp_path / "file")]
    done = CliRunner().invoke(group, words, input=CONFIG)
    assert "file/spread.png: " in str(done.exception) or "file/detection.png: " in str(done.exception)
