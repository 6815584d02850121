"""One play for `risefall vrrp --notify` and the real keepalived 2.2.7, on the same configuration in the same namespace.

Each has a folder of its own, so that scripts count for themselves; flags, track files and links are the same for both.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from stalls import ATTEMPTS, NICE, Stalls
from vrrp_lab import LOG_TIME

DEADLINE_S = 40.0
WHO = ("keepalived", "risefall")
LINE = re.compile(
    r"VRRP_Script\((?P<a>\w+)\) |Script `(?P<b>\w+)` now|Track script (?P<c>\w+) is|Script (?P<d>\w+) child"
    r"|(?P<e>\(\w+\)) (?:[Ee]ntering|Changing)|(?P<f>VRRP_Group\(\w+\)) |(?P<g>SECURITY|Disabling|Cannot find|WARNING - script|Unsafe)"
    r"|Quorum \w+ for tracked process (?P<h>\w+)"
)
HEAD = "global_defs {{\n router_id t\n script_user root\n vrrp_notify_fifo {own}/fifo\n}}\n"
CALLED = 'echo "$(cut -d" " -f22 /proc/$$/stat) $$ $*" >> {own}/calls'
"""When and as which process it was started, which says who was called first, and its arguments."""
INSTANCE = """vrrp_instance {name} {{
  interface {interface}
  virtual_router_id {vrid}
  priority {priority}
  garp_master_delay 0
  notify_priority_changes true
  notify "{own}/notify.sh any"
  notify_master "{own}/notify.sh 'the master'"
  notify_backup "{own}/notify.sh backup"
  notify_fault "{own}/notify.sh fault"
  notify_stop "{own}/notify.sh stop"
  virtual_ipaddress {{
    10.9.0.{vrid}/24
  }}
{blocks}}}
"""


SURROUNDINGS = (
    "exec > {own}/found.new 2>&1; tr '\\0' '\\n' < /proc/$$/environ | sort; id -u; id -g; id -G; umask; ulimit -a; nice; ls -l /proc/$$/fd | sed 's/.*-> //'; "
    "grep '^Sig[BIC]' /proc/self/status; [ $(cut -d' ' -f5 /proc/$$/stat) = $$ ] && echo leads; echo \"$0 $*\" | sed s,{own},OWN,g; mv {own}/found.new {own}/found; exit 0"
)


class Play(msgspec.Struct, frozen=True):
    """config: with {own} and {common}. programs: shell scripts of each folder. steps: what is written into a common file, `up` or `down` of
    a link, `reload` with the configuration `again`; each after the line that it waits for was logged by both. until: the last lines to wait for. first: files that are not empty at first. luck: several scripts end at one moment, and which of
    them moves a priority first differs from run to run: lines of instances and the FIFO's are not compared. overlaps: a run may meet the next
    one, so how often a line comes is luck, too."""

    config: str
    programs: tuple[tuple[str, str], ...] = ()
    steps: tuple[tuple[str, str, str], ...] = ()
    until: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    again: str = ""
    luck: bool = False
    overlaps: bool = False
    looks: bool = False
    """A program of it writes down what it finds around it."""
    full: bool = False
    """The FIFO has no room from the beginning."""
    mails: int = 0
    """How many reach a mail server, which each has of its own; those at the end are left to luck by keepalived itself."""
    written: tuple[tuple[str, int], ...] = ()
    """Records of programs, and how many lines of each count."""


def script(name: str, command: str, *lines: str) -> str:
    body = "\n  ".join((f'script "{command}"', *lines))
    return f"vrrp_script {name} {{{{\n  {body}\n}}}}\n"


def tracks(kind: str, *entries: str) -> str:
    return f"  track_{kind} {{{{\n    " + "\n    ".join(entries) + "\n  }}\n"


def instance(blocks: str = "", name: str = "VI_1", vrid: int = 51, priority: int = 100, interface: str = "eth0") -> str:
    place = {"name": name, "vrid": vrid, "priority": priority, "interface": interface}
    text = INSTANCE
    for key, value in place.items():
        text = text.replace("{" + key + "}", str(value))
    return text.replace("{blocks}", blocks)


class Outcome(msgspec.Struct):
    """By who: lines by subject, FIFO lines, calls, what was found, and the end."""

    lines: dict[str, dict[str, list[str]]]
    fifo: dict[str, list[str]]
    calls: dict[str, list[str]]
    found: dict[str, str]
    mails: dict[str, list[dict[str, object]]]
    written: dict[str, dict[str, list[str]]]
    end: dict[str, dict[str, dict[str, str]]]

    def differences(self, play: Play) -> dict[str, object]:
        """What keepalived and risefall do not agree on, keepalived's first."""
        parts: dict[str, dict[str, Any]] = {
            "lines": self.lines, "calls": self.calls, "found": self.found, "mails": self.mails, "written": self.written,
            "end": self.end,
        }  # fmt: skip
        if not play.luck:
            parts["fifo"] = self.fifo
        return {name: [part[who] for who in WHO] for name, part in parts.items() if part[WHO[0]] != part[WHO[1]]}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Stage:
    """One namespace, both programs, one play."""

    def __init__(self, name: str, play: Play, folder: Path) -> None:
        self.play, self.folder, self.space = play, folder, f"rfev{os.getpid()}{name}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.common = folder / "common"

    def own(self, who: str) -> Path:
        return self.folder / who

    def __enter__(self) -> Stage:
        ip("netns", "add", self.space)
        ip("-n", self.space, "link", "set", "lo", "up")
        for number in (0, 1):
            ip("-n", self.space, "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"peer{number}")
            ip("-n", self.space, "link", "set", f"peer{number}", "up")
            ip("-n", self.space, "addr", "add", f"10.{number + 7}.0.1/24", "dev", f"eth{number}")
            ip("-n", self.space, "link", "set", f"eth{number}", "up")
        self.common.mkdir(parents=True)
        for name in ("hard", "soft", "other", "odd", "tf", "group", "member", "weighted", "neu"):
            (self.common / name).write_text("1\n" if name in self.play.first else "")
        for who in WHO:
            self._prepare(who)
        return self

    def _prepare(self, who: str) -> None:
        own = self.own(who)
        own.mkdir()
        for name, body in (*self.play.programs, ("notify.sh", CALLED)):
            text = f"#!/bin/sh\n{body}\n" if body else "no program\n"
            (own / name).write_text(text.replace("{own}", str(own)))
            (own / name).chmod(0o777 if name == "unsafe.sh" else 0o755)
        self._configure(who, self.play.config, self._sink(who) if self.play.mails else "")
        os.mkfifo(own / "fifo")

    def _configure(self, who: str, config: str, port: str = "") -> None:
        text = config.format(own=self.own(who), common=self.common, process="keepalived", port=port)
        (self.own(who) / "keepalived.conf").write_text(text)

    def _sink(self, who: str) -> str:
        """A mail server of its own; its port."""
        own = self.own(who)
        program = [sys.executable, str(Path(__file__).with_name("smtp_sink.py")), str(own)]
        self.running[f"{who}'s mail server"] = subprocess.Popen(["ip", "netns", "exec", self.space, *program])
        self.wait((own / "port").exists, "a mail server")
        return (own / "port").read_text()

    def mails(self, who: str) -> list[dict[str, object]]:
        """What has reached its mail server, but for those of the end; by what they are about, since each is sent by itself."""
        path = self.own(who) / "mails"
        told = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        kept = [one for one in told if "Stopping" not in one["headers"]["Subject"]]
        return sorted(kept, key=lambda one: str(one["headers"]["Subject"]).split(" - ")[0])

    def written(self, who: str) -> dict[str, list[str]]:
        """The lines of each record that count."""
        paths = {name: (self.own(who) / name, count) for name, count in self.play.written}
        return {name: path.read_text().splitlines()[:count] for name, (path, count) in paths.items() if path.exists()}

    def _all_came(self) -> bool:
        counts = dict(self.play.written)
        came = [len(lines) == counts[name] for who in WHO for name, lines in self.written(who).items()]
        looked = [(self.own(who) / "found").exists() for who in WHO if self.play.looks]
        mailed = [len(self.mails(who)) >= self.play.mails for who in WHO]
        return len(came) == len(WHO) * len(counts) and all(came) and all(looked) and all(mailed)

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "del", self.space], check=False, capture_output=True)

    def start(self) -> None:
        pids = [f"--{kind}={self.own('keepalived') / kind}" for kind in ("pid", "vrrp_pid", "checkers_pid", "bfd_pid")]
        words = {
            "keepalived": ["keepalived", "-n", "-l", "-D", "-P", *pids, "-f"],
            "risefall": [str(Path(sys.executable).parent / "risefall"), "vrrp", "--json", "--notify", "--detail", "-f"],
        }
        for who in WHO:
            own = self.own(who)
            self.running[who] = subprocess.Popen(
                ["ip", "netns", "exec", self.space, *NICE, *words[who], str(own / "keepalived.conf")],
                stdout=(own / "log").open("wb"),
                stderr=(own / "err").open("wb") if who == "risefall" else subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "TMPDIR": str(self.own("keepalived")), "HOME": "/root"},
                cwd="/",
            )

    def log(self, who: str) -> list[str]:
        lines = (self.own(who) / "log").read_text().splitlines()
        if who == "keepalived":
            return [line[LOG_TIME:] for line in lines]
        told = [json.loads(line) for line in lines if line.endswith("}")]
        return [one["text"] for one in told if one["kind"] == "log"]

    def both_said(self, text: str) -> None:
        """Until both have logged it; `|2` at its end: for the second time."""
        wanted, _, times = text.partition("|")
        self.wait(lambda: all(sum(wanted in line for line in self.log(who)) >= int(times or 1) for who in WHO), text)

    def wait(self, seen: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not seen():
            if time.monotonic() > deadline:
                logs = {who: self.log(who) for who in WHO}
                raise AssertionError(f"not seen: {what}\n{logs}\n{(self.own('risefall') / 'err').read_text()}")
            time.sleep(0.02)

    def step(self, what: str, value: str) -> None:
        if value == "reload":
            for who in WHO:
                self._configure(who, self.play.again)
                self.running[who].send_signal(signal.SIGHUP)
        elif value in ("up", "down"):
            ip("-n", self.space, "link", "set", what, value)
        else:
            (self.common / what).write_text(f"{value}\n" if value else "")

    def dump(self) -> dict[str, dict[str, str]]:
        """keepalived's own account of itself."""
        path = self.own("keepalived") / "keepalived.data"
        os.kill(int((self.own("keepalived") / "vrrp_pid").read_text()), signal.SIGUSR1)
        self.wait(lambda: path.exists() and "------< Interfaces" in path.read_text(), "the dump")
        found: dict[str, dict[str, str]] = {}
        name = ""
        for line in path.read_text().splitlines():
            if head := re.match(r" VRRP (Instance|Script) = (\S+)", line):
                name = head[2]
                found[name] = {}
            elif head := re.match(r" VRRP Sync Group = (\S+), (\w+)", line):
                found[head[1]] = {"State": head[2]}
            elif name and (
                told := re.match(r"   (State|Effective priority|Total priority|Result|Status) = (\S+)", line)
            ):
                found[name].setdefault(told[1], told[2])
        return found

    def ours(self) -> dict[str, dict[str, str]]:
        """The same of risefall."""
        found: dict[str, dict[str, str]] = {}
        for line in (self.own("risefall") / "log").read_text().splitlines():
            one = json.loads(line)
            if one["kind"] == "script" and one["state"] != "DROPPED":
                found[one["name"]] = {"Result": str(one["result"]), "Status": one["state"]}
            elif one["kind"] == "instance":
                priorities = {"Effective priority": str(one["effective"]), "Total priority": str(one["total"])}
                found[one["name"]] = {"State": one["state"], **priorities}
            elif one["kind"] == "group":
                found[one["name"]] = {"State": one["state"]}
        return found

    def run(self) -> Outcome:
        fifos = {who: os.open(self.own(who) / "fifo", os.O_RDWR | os.O_NONBLOCK) for who in WHO}
        if self.play.full:
            for handle in fifos.values():
                fill(handle)
        self.start()
        for wait_for, what, value in self.play.steps:
            self.both_said(wait_for)
            self.step(what, value)
        for text in self.play.until:
            self.both_said(text)
        self.wait(self._all_came, "all that was to be written")
        real = self.dump()
        for who in WHO:
            self.running[who].terminate()
        for who in WHO:
            self.running[who].wait(timeout=DEADLINE_S)
        ours = self.ours()
        real = {name: {key: told[key] for key in ours.get(name, told) if key in told} for name, told in real.items()}
        lines = {who: by_subject(self.log(who), self.own(who), self.play) for who in WHO}
        fifo = {who: os.read(handle, 1 << 20).decode().lstrip(FILLING).splitlines() for who, handle in fifos.items()}
        calls, found = {}, {}
        for who, handle in fifos.items():
            os.close(handle)
            path, there = self.own(who) / "calls", self.own(who) / "found"
            told = in_order(path.read_text().splitlines() if path.exists() else [])
            calls[who] = sorted(re.sub(r" \d+$", "", line) for line in told) if self.play.luck else told
            found[who] = there.read_text().replace(str(self.own(who)) + "/", "OWN/") if there.exists() else ""
        mails, written = {who: self.mails(who) for who in WHO}, {who: self.written(who) for who in WHO}
        return Outcome(lines, fifo, calls, found, mails, written, {"keepalived": real, "risefall": ours})


FILLING = "x"


def fill(handle: int) -> None:
    """Until not one byte more fits."""
    for size in (4096, 1):
        try:
            while True:
                os.write(handle, FILLING.encode() * size)
        except BlockingIOError:
            continue


def in_order(told: list[str]) -> list[str]:
    """Arguments of calls, in the order in which their processes were made."""
    called = [line.split(" ", 2) for line in told]
    return [words[2] for words in sorted(called, key=lambda words: (int(words[0]), int(words[1])))]


def by_subject(lines: Sequence[str], own: Path, play: Play) -> dict[str, list[str]]:
    """Lines that both are to log, by what they are about; only up to where both were told to end."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("Stopp"):
            break
        if told := LINE.match(line):
            subject = next(part for part in told.groups() if part)
            found.setdefault(subject, []).append(line.replace(str(own), "OWN"))
    if play.luck:
        found = {subject: told for subject, told in found.items() if not subject.startswith("(")}
    return {subject: sorted(set(told)) for subject, told in found.items()} if play.overlaps else found


Played = Future[tuple[Outcome, list[tuple[int, str]]]]


def played(name: str, play: Play, folder: Path, stalls: Stalls) -> tuple[Outcome, list[tuple[int, str]]]:
    """The last outcome; and, of plays before it that did not fit on a machine that stalled, how late it was and what differed."""
    again: list[tuple[int, str]] = []
    while True:
        began_ns = time.monotonic_ns()
        with Stage(f"{name[:3]}{len(again)}", play, folder / name / str(len(again))) as stage:
            outcome = stage.run()
        late_us, differs = stalls.worst_us(began_ns), outcome.differences(play)
        if not differs or not late_us or len(again) + 1 == ATTEMPTS:
            return outcome, again
        again.append((late_us, str(differs)))
