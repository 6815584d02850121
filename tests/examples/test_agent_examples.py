"""The agent's examples run as they are, each with a real HAProxy and the real thing that it speaks for."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {
    "web": [],
    "postgres": ["/usr/lib/postgresql/*/bin/initdb"],
    "galera": ["/usr/sbin/mariadbd", "/usr/lib/galera/libgalera_smm.so"],
    "deploy": [],
}
IN = "(UP|no check)"
OUT = r"DOWN \(agent\)"
SEEN = {
    "web": [{"shop/one": IN}, {"shop/one": f"{OUT}.*via agent : down"}, {"shop/one": IN}],
    "postgres": [
        {"writers/a": IN, "writers/b": f"{OUT}.*a replica", "readers/a": f"{OUT}.*the primary", "readers/b": IN},
        {"writers/a": f"{OUT}.*stale", "writers/b": IN},
    ],
    "galera": [{"galera/one": IN}, {"galera/one": "DRAIN"}, {"galera/one": IN}, {"galera/one": f"{OUT}.*stale"}],
    "deploy": [{"app/one": "DRAIN"}, {"app/one": IN}],
}


@pytest.mark.parametrize("name", NEEDS)
def test_the_example_shows_what_it_says(name: str) -> None:
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is not installed here")
    for pattern in NEEDS[name]:
        if not glob.glob(pattern):
            pytest.skip(f"{pattern} is not installed here")
    done = subprocess.run(
        [str(EXAMPLES / f"agent-{name}" / "run")],
        env={**os.environ, "RISEFALL": f"{sys.executable} -m risefall"},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tables = re.split(r"^--- .*$", done.stdout, flags=re.MULTILINE)[1:]
    assert len(tables) == len(SEEN[name]), done.stdout
    for table, rows in zip(tables, SEEN[name], strict=True):
        for server, status in rows.items():
            assert re.search(rf"^{server} +{status}", table, re.MULTILINE), (server, status, table)


def test_the_deploy_waits_before_it_ends_the_app() -> None:
    """The unit's lines are commands that there are; what they do is shown by the example itself."""
    unit = (EXAMPLES / "agent-deploy" / "drain.conf").read_text()
    stop = re.search(r"^ExecStop=-(.*)$", unit, re.MULTILINE)
    assert stop
    assert " --wait " in stop[1]
    assert re.search(r"^ExecStartPost=-.* ctl release app$", unit, re.MULTILINE)
