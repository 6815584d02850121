"""The push example runs as it is, with haproxy and web servers on free ports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "push"


def test_the_example_shows_what_it_says() -> None:
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is not installed here")
    done = subprocess.run(
        [str(FOLDER / "run")],
        env={**os.environ, "RISEFALL": f"{sys.executable} -m risefall"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tables = re.split(r"^--- HAProxy ([ab]), (.*)$", done.stdout, flags=re.MULTILINE)
    assert tables[1::3] == ["a", "b"] * 3
    for table in tables[9:13:3]:
        assert re.search(r"^shop/one +no check ", table, re.MULTILINE)
        assert re.search(r"^shop/two +DOWN ", table, re.MULTILINE)
    for table in tables[15::3]:
        assert re.search(r"^shop/one +UP ", table, re.MULTILINE)
