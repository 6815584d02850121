"""`risefall run` beside the real keepalived 2.2.7: the states on its notify FIFO, through reloads, restarts of either, and its end."""

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

from risefall.errors import PeerLost
from risefall.surfaces.client import Client
from vrrp_lab import missing

DEADLINE_S = 30.0
RISEFALL = str(Path(sys.executable).parent / "risefall")
CONFIG = """global_defs {
 router_id t
 script_user root
 vrrp_notify_fifo OWN/fifo
}
vrrp_script chk {
 script "/usr/bin/test ! -s OWN/flag"
 interval 1
 weight -20
}
vrrp_sync_group G {
 group {
  VI_1
 }
 track_script {
  chk
 }
}
vrrp_instance VI_1 {
 interface eth0
 virtual_router_id 51
 priority 100
 version 3
 advert_int 0.1
 notify_priority_changes true
 virtual_ipaddress {
  10.9.0.51/24
 }
}
"""
SECOND = """vrrp_instance VI_2 {
 interface eth0
 virtual_router_id 52
 priority 90
 version 3
 advert_int 0.1
 virtual_ipaddress {
  10.9.0.52/24
 }
}
"""


class Pair:
    """One namespace; keepalived and risefall, each of which may come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.space = folder, f"rffifo{os.getpid()}"
        self.conf = folder / "keepalived.conf"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Pair:
        for words in (
            f"netns add {self.space}",
            f"-n {self.space} link add eth0 type veth peer name peer0",
            f"-n {self.space} link set peer0 up",
            f"-n {self.space} addr add 10.9.0.1/24 dev eth0",
            f"-n {self.space} link set eth0 up",
        ):
            subprocess.run(["ip", *words.split()], check=True, capture_output=True)
        self.write(CONFIG)
        (self.folder / "flag").write_text("")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "del", self.space], check=False, capture_output=True)

    def write(self, text: str) -> None:
        self.conf.write_text(text.replace("OWN", str(self.folder)))

    def start(self, who: str) -> None:
        own = self.folder
        pids = [f"--{kind}={own}/{kind}" for kind in ("pid", "vrrp_pid", "checkers_pid", "bfd_pid")]
        words = {
            "keepalived": ["keepalived", "-n", "-l", "-D", "-P", *pids, "-f", str(self.conf)],
            "risefall": [RISEFALL, "run", "--scripts", str(self.conf), "--keepalived", str(self.conf)],
        }[who]
        if who == "risefall":
            words += ["--notify-fifo", f"{own}/fifo", "--state-dir", f"{own}/state", "--socket", f"{own}/run.sock"]
        with (own / f"{who}.log").open("ab") as log:
            environment = {**os.environ, "TMPDIR": str(own)}
            self.running[who] = subprocess.Popen(
                ["ip", "netns", "exec", self.space, *words], stdout=log, stderr=log, env=environment
            )

    def end(self, who: str, number: int = signal.SIGTERM) -> None:
        if number == signal.SIGKILL and who == "keepalived":
            os.kill(int((self.folder / "vrrp_pid").read_text()), number)
        self.running[who].send_signal(number)
        self.running[who].wait(timeout=DEADLINE_S)

    def hup(self, who: str) -> None:
        self.running[who].send_signal(signal.SIGHUP)

    def shown(self) -> dict[str, dict[str, Any]]:
        """`show vrrp json` by name; nothing while nobody answers."""
        try:
            told = Client(f"{self.folder}/run.sock").ask("show vrrp json").text
        except PeerLost:
            return {}
        return {one["name"]: one for one in map(json.loads, told.splitlines())}

    def until(self, seen: Callable[[dict[str, dict[str, Any]]], bool], what: str) -> dict[str, dict[str, Any]]:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            shown = self.shown()
            if shown and seen(shown):
                return shown
            if time.monotonic() > deadline:
                logs = [(self.folder / f"{who}.log").read_text() for who in self.running]
                raise AssertionError("\n".join([f"not seen: {what}", str(shown), *logs]))
            time.sleep(0.05)

    def until_real(self, name: str, state: str, priority: int, *, sure: bool = True) -> dict[str, dict[str, Any]]:
        wanted = (state, priority, sure)
        keys = ("real", "real_priority", "real_sure")
        return self.until(
            lambda found: tuple(found.get(name, {}).get(key) for key in keys) == wanted, f"{name} {wanted}"
        )


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    if why := missing():
        pytest.skip(why)
    with Pair(tmp_path) as both:
        yield both


def test_the_real_states_beside_the_computed_ones(pair: Pair) -> None:
    """About 10 s. Whoever starts first; a reload ends the FIFO and makes another; a line that was written while risefall was away counts."""
    pair.start("risefall")
    pair.until(lambda found: found["VI_1"]["computed"] == "MASTER", "the computed state")
    assert pair.shown()["VI_1"]["real"] is None
    pair.start("keepalived")
    shown = pair.until_real("VI_1", "MASTER", 100)
    assert shown[f"{pair.folder}/fifo"]["status"] == "keepalived has it open"
    assert (shown["G"]["real"], shown["G"]["computed"], shown["VI_1"]["differs"]) == ("MASTER", "MASTER", None)
    (pair.folder / "flag").write_text("1")
    shown = pair.until(
        lambda found: (found["VI_1"]["real_priority"], found["VI_1"]["priority"]) == (80, 80), "80 of both"
    )
    # Both are reloaded.
    pair.write(CONFIG.replace("weight -20", "weight -30") + SECOND)
    pair.hup("keepalived")
    pair.hup("risefall")
    pair.until_real("VI_2", "MASTER", 90)
    shown = pair.until(
        lambda found: found["VI_1"]["priority"] == 70 and found["VI_2"]["computed"] == "MASTER", "a reload"
    )
    assert (shown["VI_1"]["real_priority"], shown["VI_1"]["real_sure"], shown["chk"]["state"]) == (70, True, "BAD")
    # risefall is away while keepalived tells.
    pair.end("risefall")
    (pair.folder / "flag").write_text("")
    log = pair.folder / "keepalived.log"
    deadline = time.monotonic() + DEADLINE_S
    while "priority from 70 to 100" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    pair.start("risefall")
    shown = pair.until_real("VI_1", "MASTER", 100)
    assert (shown["VI_2"]["real"], shown["VI_2"]["real_sure"]) == ("MASTER", False)
    # keepalived ends, comes back, and dies.
    pair.end("keepalived")
    pair.until_real("VI_2", "STOP", 90, sure=False)
    assert not (pair.folder / "fifo").exists()
    pair.start("keepalived")
    pair.until_real("VI_2", "MASTER", 90)
    pair.end("keepalived", signal.SIGKILL)
    shown = pair.until(lambda found: found["VI_1"]["real_sure"] is False, "its death")
    assert shown[f"{pair.folder}/fifo"]["status"] == "nobody writes to it"
    assert shown[f"{pair.folder}/fifo"]["bad"] == 0
