"""What runs on the lab's machines, and how it is started and struck down."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import msgspec
from forecast import Pace
from wires import GUESTS, Lab, server_status, wait

HERE = Path(__file__).resolve().parent
NODES = ("lb1", "lb2")
BACKENDS = ("web1", "web2")
AGENT_EVERY_MS = 100
READY_POLLS = 4
"""haproxy and risefall of one node ask from one address, and an agent that no longer drains owes each of them its `ready`."""
RISEFALL = [sys.executable, "-m", "risefall"]


class Machines:
    """The programs of every machine, by the files beside this one."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.track = self._install_track()
        self.conf = {node: self._write(node, self.track) for node in NODES}

    def _install_track(self) -> Path | None:
        """A copy where only root may write, as keepalived's script security wants it; None where there is no risefall-track."""
        found = shutil.which(
            "risefall-track", path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
        )
        if found is None:
            return None
        copy = self.lab.work / "risefall-track"
        shutil.copy(found, copy)
        copy.chmod(0o755)
        return copy

    def _write(self, node: str, track: Path | None) -> Path:
        """Puts what the files leave open into this node's folder."""
        folder = self.lab.work / node
        folder.mkdir()
        check = folder / "check"
        check.write_text(f"#!/bin/sh\nexec kill -0 $(cat {folder}/haproxy.pid)\n")
        check.chmod(0o700)
        command = f"{track} haproxy {folder}/admin.sock" if track else str(check)
        conf = folder / "keepalived.conf"
        conf.write_text(
            f"$WORK={self.lab.work}\n$NODE={node}\n$CHECK={command}\n" + (HERE / "keepalived.conf").read_text()
        )
        return conf

    def read_pace(self) -> Pace:
        """How the first server is checked; all are checked alike."""
        done = subprocess.run(
            [*RISEFALL, "plan", "--json", "--no-resolve", "-f", str(HERE / "haproxy.cfg")],
            capture_output=True,
            check=True,
        )
        return msgspec.json.decode(done.stdout.splitlines()[0], type=Pace)

    def start_backend(self, name: str) -> None:
        """The web server; its agent runs on."""
        argv = [sys.executable, str(HERE / "traffic.py"), "serve", name, GUESTS[name][1]]
        log = self.lab.start(name, "web", argv)
        wait(lambda: "ready" in log.read_text(), f"{name} serves: {log.read_text()}")

    def start_agent(self, name: str) -> None:
        """risefall agent: drain while the file of this name is there."""
        folder = self.lab.work / name
        settings = folder / "agent.toml"
        settings.write_text(
            f'[agent]\nlisten = ["{GUESTS[name][1]}:9777"]\nstate_dir = "{folder}/state"\n[service.app]\ndefault = true\nready_polls = {READY_POLLS}\n'
            f'[[service.app.signal]]\nkind = "file"\npath = "{folder}/drain"\nof = "present"\n'
            f'every = "{AGENT_EVERY_MS}ms"\n'
            '[[service.app.state]]\nsay = "drain"\nsignal = "file"\nop = "=="\nvalue = 1\nreason = "asked for"\n'
        )
        self.lab.start(name, "agent", [*RISEFALL, "agent", "-f", str(settings)])

    def start_haproxy(self, node: str) -> None:
        """haproxy alone, and its pid where the shell line looks for it."""
        folder = self.lab.work / node
        argv = ["haproxy", "-q", "-db", "-f", str(HERE / "haproxy.cfg")]
        self.lab.start(node, "haproxy", argv, {"LAB_NODE": str(folder), "LAB_NAME": node})
        (folder / "haproxy.pid").write_text(str(self.lab.processes[f"{node}/haproxy"].pid))
        wait(lambda: server_status(folder / "admin.sock", "web1"), f"haproxy on {node} answers")

    def start_risefall(self, node: str) -> None:
        """The daemon beside it, from the same file."""
        folder = self.lab.work / node
        argv = [*RISEFALL, "run", "-f", str(HERE / "haproxy.cfg"), "--log", "none", "--state-dir", "none"]
        self.lab.start(node, "risefall", [*argv, "--socket", str(folder / "risefall.sock")], {"LAB_NODE": str(folder)})

    def start_keepalived(self, node: str) -> None:
        """And keepalived."""
        folder = self.lab.work / node
        pids = [f"--{kind}={folder / kind}" for kind in ("pid", "vrrp_pid", "checkers_pid", "bfd_pid")]
        self.lab.start(
            node, "keepalived", ["keepalived", "-n", "-l", "-D", "-P", "-i", node, "-f", str(self.conf[node]), *pids]
        )

    def start_watch(self) -> None:
        """risefall vrrp --watch on the client's machine, which hears all adverts that the switch carries."""
        self.watched = self.lab.start("client", "watch", [*RISEFALL, "vrrp", "--watch", "eth0", "--json"])
        wait(lambda: "listening" in self.watched.read_text(), f"the client listens: {self.watched.read_text()}")

    def heard_masters(self) -> set[str]:
        """The nodes that hold the address by what was heard."""
        lines = self.watched.read_bytes().split(b"\n")[:-1]
        told = [one for one in map(msgspec.json.decode, lines) if one["vrid"]]
        names = {GUESTS[node][1]: node for node in NODES}
        return {names[source] for source in told[-1]["masters"]} if told else set()

    def start_node(self, node: str) -> None:
        """All three."""
        self.start_haproxy(node)
        self.start_risefall(node)
        self.start_keepalived(node)

    def host_dies(self, node: str) -> None:
        """All at once and without a word: the parent must not see its child die, or it resigns."""
        parent = self.lab.processes[f"{node}/keepalived"]
        parent.send_signal(signal.SIGSTOP)
        os.kill(int((self.lab.work / node / "vrrp_pid").read_text()), signal.SIGKILL)
        for what in ("keepalived", "haproxy", "risefall"):
            self.lab.kill(f"{node}/{what}")
        self.lab.unplug(node)
