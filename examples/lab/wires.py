"""The lab's network and processes. Everything lies in network namespaces whose names begin with PREFIX.

    client ── sw0 ──┬── kvm1: eth0 ─ macvlan ─ lb1, web1      sw0: a bridge in a namespace of its own
                    └── kvm2: eth0 ─ macvlan ─ lb2, web2      kvm1 and kvm2 have a macvlan of their own, too

A guest behind macvtap and one behind macvlan see the same network: both are macvlan devices in bridge mode on the host's card.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import msgspec

PREFIX = "rflab-"
VIP = "10.88.0.100"
HOSTS = {"kvm1": "10.88.0.11", "kvm2": "10.88.0.12"}
GUESTS = {"lb1": ("kvm1", "10.88.0.21"), "lb2": ("kvm2", "10.88.0.22")}
GUESTS |= {"web1": ("kvm1", "10.88.0.31"), "web2": ("kvm2", "10.88.0.32")}
CLIENT = "10.88.0.1"
READY_S = 20.0
STATES = {"MASTER", "BACKUP", "FAULT"}
"""The FIFO tells other things too: that keepalived stops, and each worse advert that a MASTER hears."""


class LabError(Exception):
    """The lab itself does not work; nothing was shown."""


class Heard(msgspec.Struct, frozen=True):
    """A state that keepalived of a node entered, and when."""

    at_s: float
    node: str
    state: str


class Answered(msgspec.Struct, frozen=True):
    """One request of the client. node, backend: None when nobody answered."""

    at_s: float
    node: str | None
    backend: str | None


def ip(*words: str, check: bool = True) -> None:
    """Runs `ip`. Raises LabError."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise LabError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def space(name: str) -> str:
    """The namespace of a machine."""
    return f"{PREFIX}{name}"


def wait(seen: Callable[[], object], what: str, deadline_s: float = READY_S) -> None:
    """Until `seen()`. Raises LabError at the deadline."""
    until_s = time.monotonic() + deadline_s
    while not seen():
        if time.monotonic() > until_s:
            raise LabError(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.02)


def sweep() -> int:
    """Removes what a lab that was killed has left behind: processes in its namespaces, the namespaces, its folders."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    names = [line.split()[0] for line in listed.splitlines() if line.startswith(PREFIX)]
    for name in names:
        inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
        for pid in inside.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        ip("netns", "del", name, check=False)
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)
    return len(names)


class Lab:
    """Use it with `with`: leaving ends processes and removes namespaces and files, whatever has happened."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answers: list[Answered] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._lock: IO[str] | None = None
        self.work = Path()
        self.swept = 0

    def __enter__(self) -> Lab:
        self._lock = open(f"/run/{PREFIX}lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LabError("a lab runs here already") from None
        self.swept = sweep()
        self.work = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            self._wire()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in [*self.processes]:
            self.kill(name)
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=5)
        sweep()
        if self._lock is not None:
            self._lock.close()

    # The network.

    def _wire(self) -> None:
        ip("netns", "add", space("lan"))
        ip(
            "-n",
            space("lan"),
            "link",
            "add",
            "sw0",
            "type",
            "bridge",
            "forward_delay",
            "0",
            "stp_state",
            "0",
            "mcast_snooping",
            "0",
        )
        ip("-n", space("lan"), "link", "set", "sw0", "up")
        for name, address in {**HOSTS, "client": CLIENT}.items():
            ip("netns", "add", space(name))
            ip("-n", space(name), "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", space("lan"))
            ip("-n", space("lan"), "link", "set", name, "master", "sw0", "up")
            ip("-n", space(name), "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", space(name), "link", "set", "lo", "up")
            ip("-n", space(name), "link", "set", "eth0", "up")
        for name, (host, _) in GUESTS.items():
            ip("netns", "add", space(name))
            ip("-n", space(host), "link", "add", "guest", "link", "eth0", "type", "macvlan", "mode", "bridge")
            ip("-n", space(host), "link", "set", "guest", "netns", space(name))
            ip("-n", space(name), "link", "set", "guest", "name", "eth0")
            ip("-n", space(name), "link", "set", "lo", "up")
            self.plug(name)

    def plug(self, name: str) -> None:
        """Gives a guest its link and its address, and none but this one."""
        ip("-n", space(name), "addr", "flush", "dev", "eth0")
        ip("-n", space(name), "addr", "add", f"{GUESTS[name][1]}/24", "dev", "eth0")
        ip("-n", space(name), "link", "set", "eth0", "up")

    def unplug(self, name: str) -> None:
        """A dead guest has neither link nor addresses."""
        ip("-n", space(name), "link", "set", "eth0", "down")
        ip("-n", space(name), "addr", "flush", "dev", "eth0")

    def own_macvlan(self, host: str) -> None:
        """The host's own macvlan takes over its address: from now on host and guests reach one another."""
        inside = ("-n", space(host))
        ip(*inside, "link", "add", "mv0", "link", "eth0", "type", "macvlan", "mode", "bridge")
        ip(*inside, "addr", "flush", "dev", "eth0")
        ip(*inside, "addr", "add", f"{HOSTS[host]}/24", "dev", "mv0")
        ip(*inside, "link", "set", "mv0", "up")

    def cable(self, host: str, state: str) -> None:
        """Pulls a host's cable out of the switch (`down`) or puts it in again (`up`)."""
        ip("-n", space("lan"), "link", "set", host, state)

    def has_vip(self, name: str) -> bool:
        """Whether the address is on this machine."""
        shown = subprocess.run(
            ["ip", "-n", space(name), "-o", "addr", "show", "eth0"], capture_output=True, text=True, check=False
        )
        return f" {VIP}/" in shown.stdout

    def drop_vrrp(self, name: str) -> str:
        """VRRP packets no longer reach this node; says by which means. `pass_vrrp` undoes it."""
        if shutil.which("nft"):
            rules = "add table ip lab; add chain ip lab in { type filter hook input priority 0; }; "
            rules += "add rule ip lab in ip protocol vrrp drop"
            if not self.inside(name, ["nft", rules]).returncode:
                return "nft"
        if (
            shutil.which("iptables")
            and not self.inside(name, ["iptables", "-A", "INPUT", "-p", "vrrp", "-j", "DROP"]).returncode
        ):
            return "iptables"
        self._multicast(name, "off")
        return "the switch, which keeps multicast from its port"

    def pass_vrrp(self, name: str, means: str) -> None:
        """And again."""
        if means == "nft":
            self.inside(name, ["nft", "delete table ip lab"])
        elif means == "iptables":
            self.inside(name, ["iptables", "-D", "INPUT", "-p", "vrrp", "-j", "DROP"])
        else:
            self._multicast(name, "on")

    def _multicast(self, name: str, state: str) -> None:
        ip("-n", space("lan"), "link", "set", GUESTS[name][0], "type", "bridge_slave", "mcast_flood", state)

    # Processes.

    def inside(self, name: str, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Runs a program on a machine and waits for it."""
        whole = ["ip", "netns", "exec", space(name), *argv]
        return subprocess.run(whole, capture_output=True, text=True, check=False, timeout=30)

    def start(self, machine: str, what: str, argv: list[str], environ: Mapping[str, str] = {}) -> Path:
        """Starts a program on a machine; it is called `machine/what`. Returns the file that holds what it prints."""
        folder = self.work / machine
        folder.mkdir(exist_ok=True)
        log = folder / f"{what}.log"
        with log.open("wb") as out:
            self.processes[f"{machine}/{what}"] = subprocess.Popen(
                ["ip", "netns", "exec", space(machine), *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "TMPDIR": str(folder), **environ},
            )
        return log

    def kill(self, name: str) -> None:
        """SIGKILL; returns when it is gone."""
        process = self.processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def listen(self, node: str) -> None:
        """Hears the states that keepalived of this node tells its FIFO, now and after every restart."""
        (self.work / node).mkdir(exist_ok=True)
        fifo = self.work / node / "fifo"
        os.mkfifo(fifo)
        self._thread(lambda: self._read_fifo(node, fifo))

    def _read_fifo(self, node: str, fifo: Path) -> None:
        handle = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        rest = b""
        while not self._ended.is_set():
            if select.select([handle], [], [], 0.1)[0]:
                *lines, rest = (rest + os.read(handle, 4096)).split(b"\n")
                words = [line.split()[2].decode() for line in lines]
                self.heard += [Heard(time.monotonic(), node, word) for word in words if word in STATES]
        os.close(handle)

    def ask(self, argv: list[str]) -> None:
        """Starts the client and hears its answers."""
        process = subprocess.Popen(["ip", "netns", "exec", space("client"), *argv], stdout=subprocess.PIPE)
        self.processes["client/ask"] = process
        self._thread(lambda: self._read_answers(process))

    def _read_answers(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            at_ns, node, backend = json.loads(line)
            self.answers.append(Answered(at_ns / 1e9, node, backend))

    def _thread(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)


def server_status(path: Path, server: str) -> str:
    """What a runtime socket, HAProxy's or risefall's, says of a server in backend app; empty when it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(2)
            line.connect(str(path))
            line.sendall(b"show stat app -1 -1\n")
            text = b""
            while part := line.recv(65536):
                text += part
    except OSError:
        return ""
    rows = [row.split(",") for row in text.decode().splitlines() if row.startswith(("# ", "app,"))]
    if not rows:
        return ""
    column = rows[0].index("status")
    return next((row[column] for row in rows if row[1] == server), "")
