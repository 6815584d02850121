"""Real keepalived in network namespaces: nodes on bridges, what they tell their notify FIFO, and when.

Everything lies in namespaces that `Lab` makes and removes; no packet leaves them. The times are when the reader saw a line;
keepalived writes it in the event loop's turn that changed the state. Causes are track files, which keepalived sees at
once through inotify, so that no script's interval blurs the time.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from risefall.vrrp.scripts import ScriptSettings
from risefall.vrrp.settings import US_PER_S, AuthType, InstanceSettings
from risefall.vrrp.trackers import Kind, Tracked
from stalls import NICE

VERSION = "v2.2.7"
UP_DEADLINE_S = 15.0
LOG_TIME = len("Mon Nov 23 02:33:36 2026: ")
_NUMBERS = itertools.count()


class LabError(Exception):
    """keepalived or a namespace did not do what it must."""


class Heard(msgspec.Struct, frozen=True):
    """One line of a FIFO. at_us: since the lab began."""

    at_us: int
    node: str
    line: str


class NodePlan(msgspec.Struct, frozen=True):
    """instances: their `source` says the address; a second instance lies on the second link, and so on."""

    instances: tuple[InstanceSettings, ...]
    tracked: tuple[Tracked, ...] = ()
    """Files and scripts, tracked by the first instance. A script fails as long as the file of its name is not empty."""
    group: bool = False
    """All instances are one sync group, G."""
    scripts: tuple[ScriptSettings, ...] = ()
    """Of the scripts among `tracked`."""
    delay_s: float = 0
    """vrrp_startup_delay."""
    at_first: tuple[tuple[str, int], ...] = ()
    """What the files hold at the start; 0 where nothing is said. Of a process: how many run."""
    of_group: tuple[Tracked, ...] = ()
    """Files that the group tracks."""
    tracking_weight: bool = False
    """sync_group_tracking_weight."""
    environment: tuple[tuple[str, str], ...] = ()
    """What keepalived finds there besides."""
    programs: tuple[tuple[str, str, Callable[[int], None]], ...] = ()
    """Scripts that are another command line, and what is done in place of writing: the script fails after a value other than 0."""


def missing() -> str:
    """Why the real thing cannot run here; empty when it can."""
    for program in ("keepalived", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not installed here"
    if VERSION not in subprocess.run(["keepalived", "--version"], capture_output=True, text=True, check=False).stderr:
        return f"the keepalived that is installed here is not {VERSION}"
    name = f"rf{os.getpid()}probe"
    if os.geteuid() or subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "network namespaces cannot be made here"
    _ip("netns", "del", name)
    return ""


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Lab:
    """Use it with `with`: leaving removes processes and namespaces, whatever has happened."""

    def __init__(self, folder: Path, plans: list[NodePlan]) -> None:
        self.folder = folder
        self.plans = {f"n{number}": plan for number, plan in enumerate(plans)}
        self.prefix = f"rf{os.getpid()}x{next(_NUMBERS)}"
        self.heard: list[Heard] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._copies: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._changed = threading.Condition()
        self._readers: list[threading.Thread] = []
        self._ended = threading.Event()
        self._zero_ns = time.monotonic_ns()

    def __enter__(self) -> Lab:
        try:
            self._wire()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for program in self._copies:
            self._run_copies(program, 0)
        for reader in self._readers:
            reader.join()
        for name in ("br", *self.plans):
            subprocess.run(["ip", "netns", "del", self.space(name)], capture_output=True, check=False)

    def now_us(self) -> int:
        """Since the lab began."""
        return (time.monotonic_ns() - self._zero_ns) // 1000

    def space(self, name: str) -> str:
        """The namespace of a node."""
        return f"{self.prefix}{name}"

    def _wire(self) -> None:
        """A bridge for each link, in a namespace of its own, and a cable from each node to each bridge."""
        bridges = self.space("br")
        _ip("netns", "add", bridges)
        links = max(len(plan.instances) for plan in self.plans.values())
        for link in range(links):
            bridge = ("type", "bridge", "forward_delay", "0", "stp_state", "0", "mcast_snooping", "0")
            _ip("-n", bridges, "link", "add", f"br{link}", *bridge)
            _ip("-n", bridges, "link", "set", f"br{link}", "up")
        for name, plan in self.plans.items():
            space = self.space(name)
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            for link, settings in enumerate(plan.instances):
                self._cable(name, link, settings.source)
            for one in plan.tracked:
                if one.kind is Kind.INTERFACE:
                    there = f"{name}{one.name}"
                    _ip("-n", space, "link", "add", one.name, "type", "veth", "peer", there, "netns", bridges)
                    _ip("-n", bridges, "link", "set", there, "up")
                    _ip("-n", space, "link", "set", one.name, "up")

    def _cable(self, name: str, link: int, source: str) -> None:
        """From a node to a bridge."""
        space, bridges, there = self.space(name), self.space("br"), f"{name}l{link}"
        _ip("-n", space, "link", "add", f"eth{link}", "type", "veth", "peer", there, "netns", bridges)
        _ip("-n", bridges, "link", "set", there, "master", f"br{link}", "up")
        if ":" in source:  # no other link-local address, and none that must be proved first
            _ip("-n", space, "link", "set", f"eth{link}", "addrgenmode", "none")
            _ip("-n", space, "addr", "add", f"{source}/64", "dev", f"eth{link}", "nodad")
        else:
            _ip("-n", space, "addr", "add", f"{source}/24", "dev", f"eth{link}")
        _ip("-n", space, "link", "set", f"eth{link}", "up")

    def configured(self, name: str) -> Path:
        """The keepalived.conf of a node, written whether or not it runs."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "keepalived.conf").write_text(self._config(name))
        return folder / "keepalived.conf"

    # What is done to nodes; each returns when it was done.

    def start(self, name: str) -> None:
        """Starts keepalived and waits until it has told the first state of all its instances."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        fifo = folder / "fifo"
        if not fifo.exists():
            os.mkfifo(fifo)
            reader = threading.Thread(target=self._read, args=(name, fifo), daemon=True)
            reader.start()
            self._readers.append(reader)
        self.configured(name)
        for tracked in (*self.plans[name].tracked, *self.plans[name].of_group):
            self._put(name, tracked, dict(self.plans[name].at_first).get(tracked.name, 0))
        before = len(self.heard)
        pids = [f"--{kind}={folder / kind}" for kind in ("pid", "vrrp_pid", "checkers_pid", "bfd_pid")]
        # Only a keepalived that enters the namespace by itself hears of processes (spec §2.4).
        hears = any(one.kind is Kind.PROCESS for one in self.plans[name].tracked)
        inside = ("ip", "netns", "exec", self.space(name)) if not hears else ()
        pids += [f"--namespace={self.space(name)}"] if hears else []
        with (folder / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*inside, *NICE, "keepalived", "-n", "-l", "-D", "-P", "-f", str(folder / "keepalived.conf"), *pids],
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": str(folder), **dict(self.plans[name].environment)},
            )
        wanted = len(self.plans[name].instances) + self.plans[name].group
        self.wait(lambda: len([one for one in self.heard[before:] if one.node == name]) >= wanted)

    def stop(self, name: str) -> int:
        """SIGTERM; returns when it was sent, once keepalived has ended."""
        at_us = self.now_us()
        self.processes[name].terminate()
        self.processes[name].wait(timeout=UP_DEADLINE_S)
        return at_us

    def kill(self, name: str) -> int:
        """As a host that dies: the parent must not see its child die, nor the child its parent, or priority 0 is sent."""
        parent = self.processes[name]
        parent.send_signal(signal.SIGSTOP)
        at_us = self.now_us()
        os.kill(int((self.folder / name / "vrrp_pid").read_text()), signal.SIGKILL)
        parent.kill()
        parent.wait(timeout=UP_DEADLINE_S)
        return at_us

    def write(self, name: str, file: str, value: int) -> int:
        """Changes a track file, or what a script finds."""
        at_us = self.now_us()
        plan = self.plans[name]
        tracked = next(one for one in (*plan.tracked, *plan.of_group) if one.name == file)
        self._put(name, tracked, value)
        return at_us

    def _put(self, name: str, tracked: Tracked, value: int) -> None:
        if tracked.kind is Kind.INTERFACE:
            return
        if tracked.kind is Kind.PROCESS:
            self._run_copies(tracked.name, value)
            return
        for script, _, cause in self.plans[name].programs:
            if script == tracked.name:
                cause(value)
                return
        empty = tracked.kind is Kind.SCRIPT and not value
        (self.folder / name / tracked.name).write_text("" if empty else f"{value}\n")

    def _run_copies(self, program: str, count: int) -> None:
        """So many processes of this name live; the name holds on this machine, so each scenario has its own."""
        path = self.folder / program
        if not path.exists():
            shutil.copy("/bin/sleep", path)
        running = self._copies.setdefault(program, [])
        while len(running) < count:
            running.append(subprocess.Popen([path, "1000"]))
        while len(running) > count:
            last = running.pop()
            last.kill()
            last.wait()

    def deafen(self, name: str) -> int:
        """No advert reaches this node any more, though its own reach the others."""
        return self._port(name, "mcast_flood", "off")

    def hearing(self, name: str) -> int:
        """And again."""
        return self._port(name, "mcast_flood", "on")

    def part(self, name: str) -> int:
        """This node's packets reach nobody who is parted too, though its link is up."""
        return self._port(name, "isolated", "on")

    def heal(self, name: str) -> int:
        """And again."""
        return self._port(name, "isolated", "off")

    def _port(self, name: str, flag: str, state: str) -> int:
        at_us = self.now_us()
        _ip("-n", self.space("br"), "link", "set", f"{name}l0", "type", "bridge_slave", flag, state)
        return at_us

    def link(self, name: str, state: str, interface: str = "eth0") -> int:
        """Sets an interface of the node `up` or `down`."""
        at_us = self.now_us()
        _ip("-n", self.space(name), "link", "set", interface, state)
        return at_us

    def wait(self, seen: object, deadline_s: float = UP_DEADLINE_S) -> None:
        """Until `seen()`; raises LabError at the deadline, with what keepalived logged."""
        assert callable(seen)
        with self._changed:
            if not self._changed.wait_for(seen, timeout=deadline_s):
                logs = "\n".join(path.read_text() for path in sorted(self.folder.glob("*/log")))
                raise LabError(f"not seen within {deadline_s} s; heard {self.heard}\n{logs}")

    def wait_until(self, at_us: int) -> None:
        """Lets real time pass up to then: what does not happen meanwhile is an observation too."""
        self._ended.wait(max(at_us - self.now_us(), 0) / US_PER_S)

    def log(self, name: str) -> list[str]:
        """What this node has logged, without the time before each line."""
        lines = (self.folder / name / "log").read_text().splitlines()
        return [line[LOG_TIME:] for line in lines]

    def unplug(self, name: str) -> None:
        """The node's first interface is deleted."""
        _ip("-n", self.space(name), "link", "del", "eth0")

    def plug(self, name: str) -> None:
        """And made anew, with another index."""
        self._cable(name, 0, self.plans[name].instances[0].source)

    def _read(self, name: str, fifo: Path) -> None:
        """Lines as they come. It opens the FIFO for writing too, so that it does not end when keepalived does."""
        handle = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        rest = b""
        while not self._ended.is_set():
            if not select.select([handle], [], [], 0.1)[0]:
                continue
            rest += os.read(handle, 4096)
            *lines, rest = rest.split(b"\n")
            with self._changed:
                self.heard += [Heard(self.now_us(), name, line.decode()) for line in lines]
                self._changed.notify_all()
        os.close(handle)

    def _config(self, name: str) -> str:
        folder, plan = self.folder / name, self.plans[name]
        head = [f"global_defs {{\n router_id t\n script_user root\n vrrp_notify_fifo {folder / 'fifo'}\n}}"]
        if plan.delay_s:
            head.append(f"global_defs {{\n vrrp_startup_delay {plan.delay_s}\n}}")
        files = [one.name for one in (*plan.tracked, *plan.of_group) if one.kind is Kind.FILE]
        head += [f"track_file {one} {{\n file {folder / one}\n}}" for one in files]
        lines = {script: line for script, line, _ in plan.programs}
        head += [_script(one, lines.get(one.name, f"/usr/bin/test ! -s {folder / one.name}")) for one in plan.scripts]
        processes = [one.name for one in plan.tracked if one.kind is Kind.PROCESS]
        head += [f"vrrp_track_process {one} {{\n process {one}\n quorum 2\n}}" for one in processes]
        if plan.group:
            members = "\n  ".join(one.name for one in plan.instances)
            flag = " sync_group_tracking_weight\n" if plan.tracking_weight else ""
            blocks = "\n".join(_tracks(plan.of_group))
            head.append(f"vrrp_sync_group G {{\n group {{\n  {members}\n }}\n{flag}{blocks}\n}}")
        for link, settings in enumerate(plan.instances):
            head.append(_instance(settings, link, plan.tracked if link == 0 else ()))
        return "\n".join(head) + "\n"


def _script(settings: ScriptSettings, line: str) -> str:
    """The block of one script."""
    body = [
        f'script "{line}"',
        f"interval {settings.interval_us // US_PER_S}",
        f"rise {settings.rise}",
        f"fall {settings.fall}",
    ]
    return f"vrrp_script {settings.name} {{\n  " + "\n  ".join(body) + "\n}"


def _instance(settings: InstanceSettings, link: int, tracked: tuple[Tracked, ...]) -> str:
    """The block of one instance."""
    lines = [
        f"interface eth{link}",
        f"virtual_router_id {settings.vrid}",
        f"priority {settings.priority}",
        f"version {settings.version}",
        f"advert_int {settings.adv_us / US_PER_S:g}",
        f"down_timer_adverts {settings.down_timer_adverts}",
        "garp_master_delay 0",
        "notify_priority_changes true",
    ]
    for flag in ("nopreempt", "dont_track_primary", "higher_prio_send_advert", "lower_prio_no_advert"):
        if getattr(settings, flag):
            lines.append(flag)
    if settings.auth.kind is not AuthType.NONE:
        lines += [
            "authentication {",
            f"  auth_type {settings.auth.kind.name}",
            f"  auth_pass {settings.auth.key.decode()}",
            "}",
        ]
    if settings.preempt_delay_us:
        lines.append(f"preempt_delay {settings.preempt_delay_us / US_PER_S:g}")
    blocks = [("virtual_ipaddress", [f"{vip}/{64 if ':' in vip else 24}" for vip in settings.vips])]
    blocks.append(("unicast_peer", [peer.address for peer in settings.peers]))
    for block, entries in blocks:
        if entries:
            lines += [f"{block} {{", *(f"  {entry}" for entry in entries), "}"]
    lines += _tracks(tracked)
    body = "\n".join(f"  {line}" for line in lines)
    return f"vrrp_instance {settings.name} {{\n{body}\n}}"


def _tracks(tracked: tuple[Tracked, ...]) -> list[str]:
    """The lines of all track_... blocks."""
    lines = []
    for kind in (Kind.FILE, Kind.SCRIPT, Kind.INTERFACE, Kind.PROCESS):
        own = [one for one in tracked if one.kind is kind]
        entries = [f"  {one.name} weight {one.weight}{' reverse' if one.reverse else ''}" for one in own]
        lines += [f"track_{kind.value} {{", *entries, "}"] if own else []
    return lines
