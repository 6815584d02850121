"""The lab runs as it is: real haproxy, keepalived and risefall in namespaces. Real time: about a minute and a quarter."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "examples" / "lab" / "run"
ENVIRON = {**os.environ, "PYTHON": sys.executable}
PREFIX = "rflab-"
SLACK_S = "2"
"""What a loaded machine may add; how exact the forecasts are, the lab itself says with its own slack."""


def missing() -> str:
    """Why it cannot run here; empty when it can."""
    for program in ("haproxy", "keepalived", "ip"):
        if not shutil.which(program):
            return f"{program} is not installed here"
    name = f"rf{os.getpid()}probe"
    if os.geteuid() or subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "network namespaces cannot be made here"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


def left() -> list[str]:
    """Namespaces and folders of a lab."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    names = [line.split()[0] for line in listed.splitlines() if line.startswith(PREFIX)]
    return names + [path.name for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*")]


@pytest.fixture
def able() -> Iterator[None]:
    """Skips, or sees to it that nothing is left."""
    if why := missing():
        pytest.skip(why)
    yield
    assert left() == []


def until_says(lab: subprocess.Popen[str], words: str) -> str:
    """Reads its lines up to one with these words."""
    assert lab.stdout is not None
    said = ""
    for line in lab.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it ended without saying {words!r}:\n{said}")


def test_everything_comes_as_foretold(able: None) -> None:
    """Twice at most: a machine that stalls for seconds shows nothing about keepalived."""
    for _ in range(2):
        done = subprocess.run(
            [str(RUN), "--slack", SLACK_S], env=ENVIRON, capture_output=True, text=True, check=False, timeout=240
        )
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    scenes = re.findall(r"^as foretold +(.+?): ", done.stdout, re.MULTILINE)
    assert {"web2's server ends", "web1's agent drains", "lb1's haproxy is killed", "lb1 dies"} <= {*scenes}
    assert {"kvm1's cable is pulled", "VRRP to lb2 is dropped", "VRRP to lb1 is dropped"} <= {*scenes}
    assert "keepalived runs `risefall-track haproxy SOCKET`" in done.stdout
    assert "kvm1 has a macvlan: web1 from kvm1, by risefall probe: reached" in done.stdout
    assert "lb1 dies: 10.88.0.100 is on: lb2" in done.stdout
    assert "VRRP to lb2 is dropped: 10.88.0.100 is on: lb1, lb2" in done.stdout


def test_it_removes_what_is_left(able: None) -> None:
    """A lab that is killed leaves all behind, and the next one removes it; one that is interrupted removes its own."""
    argv = [str(RUN), "--only", "agent"]
    with subprocess.Popen(argv, env=ENVIRON, stdout=subprocess.PIPE, text=True) as killed:
        until_says(killed, "is answered")
        killed.kill()
    names = [name for name in left() if name.endswith("lb1")]
    assert names
    inside = subprocess.run(["ip", "netns", "pids", names[0]], capture_output=True, text=True, check=True).stdout
    assert inside.split()
    with subprocess.Popen(argv, env=ENVIRON, stdout=subprocess.PIPE, text=True) as interrupted:
        assert "removed what an earlier lab has left" in until_says(interrupted, "is answered")
        interrupted.send_signal(signal.SIGINT)
        assert interrupted.wait(timeout=60) == 130
    until_s = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in inside.split()) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not [pid for pid in inside.split() if Path(f"/proc/{pid}").exists()]


def test_it_says_what_it_lacks(tmp_path: Path) -> None:
    """Without haproxy, and when not root."""
    for name in ("bash", "env", "dirname", "id", "keepalived", "ip"):
        found = shutil.which(name)
        (tmp_path / name).symlink_to(found or "/bin/true")
    if os.geteuid():
        done = subprocess.run([str(RUN)], env=ENVIRON, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (3, "lab: network namespaces need root\n")
        return
    done = subprocess.run([str(RUN)], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr == "lab: haproxy is not installed (apt-get install haproxy keepalived iproute2)\n"
    (tmp_path / "id").unlink()
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    (tmp_path / "sh").symlink_to("/bin/sh")
    done = subprocess.run([str(RUN)], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "lab: network namespaces need root\n")
