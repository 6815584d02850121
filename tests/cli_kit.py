"""The command as a stranger runs it: a process, its output, its exit code."""

from __future__ import annotations

import os
import subprocess
import sys


def risefall(*arguments: str, stdin: str = "", columns: int = 200) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `risefall ...`."""
    done = subprocess.run(
        [sys.executable, "-m", "risefall", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": str(columns)},
    )
    return done.returncode, done.stdout, done.stderr
