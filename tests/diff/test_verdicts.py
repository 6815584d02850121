"""Every row of `verdicts_kit` as the installed haproxy 2.6 judges it. Takes about three seconds, all rows at once."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from verdicts_kit import REFUSED, TAKEN, config, rows

ROWS = {**dict.fromkeys(rows(TAKEN), True), **dict.fromkeys(rows(REFUSED), False)}
AT_ONCE = 4
LIMIT_S = 60


@pytest.fixture(scope="module", autouse=True)
def _haproxy() -> None:
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is not installed")
    told = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=False).stdout
    if "version 2.6" not in told:
        pytest.skip(f"haproxy 2.6 is asked, this is {told.splitlines()[0]}")


def test_haproxy_says_so(tmp_path: Path) -> None:
    """Exit code 0 is taken, 1 refused."""

    def judged(number: int, row: str) -> bool:
        path = tmp_path / f"{number}.cfg"
        path.write_text(config(row))
        argv = ["haproxy", "-c", "-f", str(path)]
        return subprocess.run(argv, capture_output=True, check=False, timeout=LIMIT_S).returncode == 0

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(ROWS, pool.map(judged, range(len(ROWS)), ROWS), strict=True))
    assert found == ROWS
