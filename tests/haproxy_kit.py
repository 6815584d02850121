"""The haproxy 2.6 that tests run beside risefall, where it is installed; and the end of a program that a test has started."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

import pytest

NONE = "no haproxy 2.6 is installed here"


@cache
def haproxy_path() -> str:
    """Where it is; empty for none."""
    return (shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin") or "") if haproxy_version() else ""


@cache
def haproxy_version() -> str:
    """`2.6.12-1+deb12u4`; empty for none."""
    path = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if not path:
        return ""
    told = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"HAProxy version (2\.6\.\S+)", told)
    return found[1] if found else ""


def want_haproxy() -> str:
    """Its version; skips the test where there is none."""
    return haproxy_version() or pytest.skip(NONE)


needs_haproxy = pytest.mark.skipif(not haproxy_version(), reason=NONE)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a program: SIGTERM, and SIGKILL after five seconds."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
