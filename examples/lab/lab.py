"""Builds the lab, breaks one thing after another, and prints what was foretold beside what was seen. Start it by `run`.

Exit codes: 0 all came as foretold, 1 something did not, 3 it could not run, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
from forecast import AT_ONCE, Cluster, Step, Turn, Window
from machines import AGENT_EVERY_MS, BACKENDS, HERE, NODES, RISEFALL, Machines
from rich.console import Console
from rich.table import Table
from wires import GUESTS, VIP, Heard, Lab, LabError, server_status, wait

from risefall.errors import RisefallError
from risefall.vrrp.trackers import DOWN, UP

SETTLE_S = 1.0
"""How long the traffic is looked at once everything foretold has happened; what is not foretold shows here too."""
OUTAGE_SLACK_S = 0.4
"""A client that gives up after 0.3 s sees the address move so much later."""


def does(method: str, *words: object) -> Step:
    """A step of the model: this method of the network."""
    return lambda network: getattr(network, method)(*words)


def is_up(path: Path, server: str) -> bool:
    """As this runtime socket has it."""
    return server_status(path, server) == "UP"


class Row(msgspec.Struct, frozen=True):
    """One line of the table."""

    broken: str
    what: str
    foretold: str
    seen: str
    fits: bool


class Story(Machines):
    """The scenes, in turn; each leaves everything whole."""

    def __init__(self, lab: Lab, say: Callable[[str], None], slack_s: float) -> None:
        super().__init__(lab)
        self.say = say
        self.rows: list[Row] = []
        if self.track is None:
            say("there is no risefall-track: keepalived runs a shell line in its place (kill -0 of haproxy's pid)")
        else:
            say("keepalived runs `risefall-track haproxy SOCKET`")
        addresses = {node: GUESTS[node][1] for node in NODES}
        self.cluster = Cluster(self.conf["lb1"].read_text(), addresses)
        self.slack_s = self.cluster.advert_s + slack_s
        self.pace = self.read_pace()

    # Comparing.

    def row(self, broken: str, what: str, foretold: object, seen: object, fits: bool) -> None:
        """Adds a line and shows that it is done."""
        self.rows.append(Row(broken, what, str(foretold), str(seen), fits))
        self.say(f"{'as foretold' if fits else 'NOT AS FORETOLD':<16}{broken}: {what}: {seen}")

    def addresses(self, broken: str, turns: list[Turn], since_s: float) -> None:
        """The states of both nodes since the cause, against the forecast."""

        def heard(node: str) -> list[Heard]:
            return [one for one in self.lab.heard if one.node == node and one.at_s >= since_s]

        until_s = since_s + max((one.window.high_s for one in turns), default=2 * self.cluster.advert_s) + self.slack_s
        while time.monotonic() < until_s and any(
            len(heard(node)) < len([t for t in turns if t.node == node]) for node in NODES
        ):
            time.sleep(0.02)
        time.sleep(SETTLE_S if turns else until_s - time.monotonic())
        for node in NODES:
            told = [one for one in turns if one.node == node]
            seen = heard(node)
            late = [one.at_s - since_s for one in seen]
            fits = [one.state for one in told] == [one.state for one in seen] and all(
                one.window.low_s - self.slack_s <= at_s <= one.window.high_s + self.slack_s
                for one, at_s in zip(told, late, strict=True)
            )
            foretold = ", ".join(f"{one.state} in {one.window}" for one in told) or "stays"
            shown = ", ".join(f"{one.state} in {at_s:.2f} s" for one, at_s in zip(seen, late, strict=True)) or "stays"
            self.row(broken, f"keepalived on {node}", foretold, shown, fits)

    def checks(self, broken: str, server: str, status: str, window: Window, nodes: tuple[str, ...] = NODES) -> float:
        """haproxy and risefall on these nodes find the server so; returns when the cause was."""
        since_s = time.monotonic()
        at: dict[str, float] = {}
        places = {
            f"{who} on {node}": self.lab.work / node / sock
            for node in nodes
            for who, sock in (("haproxy", "admin.sock"), ("risefall", "risefall.sock"))
        }
        while len(at) < len(places) and time.monotonic() < since_s + window.high_s + self.slack_s:
            for name, path in places.items():
                if name not in at and server_status(path, server).startswith(status):
                    at[name] = time.monotonic() - since_s
            time.sleep(0.02)
        for who in ("haproxy", "risefall"):
            late = [at_s for name, at_s in at.items() if name.startswith(who)]
            fits = len(late) == len(nodes) and all(
                window.low_s - 0.1 <= one <= window.high_s + self.slack_s for one in late
            )
            seen = ", ".join(f"{one:.2f} s" for one in late) or "never"
            self.row(broken, f"{server} is {status} for {who} on {', '.join(nodes)}", window, seen, fits)
        return since_s

    def traffic(self, broken: str, nodes: set[str], backends: set[str], outage_s: float, since_s: float) -> None:
        """Who answers in the end, and how long nobody did."""
        began_s = time.monotonic() + OUTAGE_SLACK_S  # what was asked before is over by then
        wait(lambda: self.lab.answers and self.lab.answers[-1].at_s > began_s + SETTLE_S, "the client goes on")
        good = [one for one in self.lab.answers if one.node]
        last = [one for one in self.lab.answers if one.at_s > began_s]
        by, of = {one.node or "nobody" for one in last}, {one.backend for one in last if one.backend}
        times = [since_s, *(one.at_s for one in good if one.at_s > since_s)]
        gap_s = max((after - before for before, after in itertools.pairwise(times)), default=float("inf"))
        fits = by <= nodes and bool(by) and of == backends and gap_s <= outage_s + OUTAGE_SLACK_S + self.slack_s
        foretold = (
            f"by {' or '.join(sorted(nodes))} from {', '.join(sorted(backends))}; a gap of {outage_s:.1f} s at most"
        )
        seen = f"by {', '.join(sorted(by))} from {', '.join(sorted(of)) or 'nobody'}; a gap of {gap_s:.1f} s"
        self.row(broken, f"http://{VIP}/ is answered", foretold, seen, fits)

    def moved(self, broken: str, masters: set[str]) -> None:
        """Where the address is."""
        there = {node for node in NODES if self.lab.has_vip(node)}
        self.row(broken, f"{VIP} is on", ", ".join(sorted(masters)), ", ".join(sorted(there)), there == masters)
        # One that has yielded is only silent: it has missed an advert before that is told.
        until_s = time.monotonic() + 2 * self.cluster.advert_s + self.slack_s
        while (heard := self.heard_masters()) != masters and time.monotonic() < until_s:
            time.sleep(0.02)
        shown = [", ".join(sorted(one)) for one in (masters, heard)]
        self.row(broken, "by what the client hears, MASTER is", *shown, heard == masters)

    def election(
        self,
        broken: str,
        act: Callable[[], object],
        step: Step,
        *,
        lag: Window = AT_ONCE,
        before: Step | None = None,
        outage_s: float | None = None,
    ) -> float:
        """Does it for real and in the model, and compares."""
        turns = self.cluster.foretell(step, lag=lag, before=before)
        masters = self.cluster.masters(*([before] if before else []), step)
        since_s = time.monotonic()
        act()
        self.addresses(broken, turns, since_s)
        self.moved(broken, masters)
        if outage_s is None:
            outage_s = max((one.window.high_s for one in turns if one.state == "MASTER"), default=0)
        self.traffic(broken, masters, {*BACKENDS}, outage_s, since_s)
        return since_s

    # The scenes.

    def begin(self) -> None:
        """Builds up; the first row is the first election."""
        for name in BACKENDS:
            self.start_backend(name)
            self.start_agent(name)
        for node in NODES:
            self.lab.listen(node)
            self.start_haproxy(node)
            self.start_risefall(node)
        self.start_watch()
        for node in NODES:
            self.start_keepalived(node)
        self.lab.ask([sys.executable, str(HERE / "traffic.py"), "ask", VIP])
        wait(lambda: any(one.state == "MASTER" for one in self.lab.heard), "a node is MASTER")
        for node in NODES:
            for sock in ("admin.sock", "risefall.sock"):
                for server in BACKENDS:
                    path = self.lab.work / node / sock
                    wait(partial(is_up, path, server), f"{server} is UP at {path}")
        # Who is ready first may be MASTER for a moment.
        masters = self.cluster.masters()
        wait(
            lambda: {node for node in NODES if self.lab.has_vip(node)} == masters,
            f"{VIP} is on {', '.join(masters)} alone",
        )
        self.moved("nothing", masters)
        self.traffic("nothing", self.cluster.masters(), {*BACKENDS}, 0, time.monotonic())

    def macvlan(self) -> None:
        """A host does not reach its own guest until it has a macvlan itself; other machines do."""
        probe = [*RISEFALL, "probe", f"tcp://{GUESTS['web1'][1]}:8080", "--inter", "700"]
        for title, host, works in (
            ("no macvlan on kvm1", "kvm2", True),
            ("no macvlan on kvm1", "kvm1", False),
            ("kvm1 has a macvlan", "kvm1", True),
        ):
            if title.startswith("kvm1"):
                self.lab.own_macvlan("kvm1")
            done = self.lab.inside(host, probe)
            words = {True: "reached", False: "not reached"}
            self.row(
                title,
                f"web1 from {host}, by risefall probe",
                words[works],
                words[done.returncode == 0],
                (done.returncode == 0) is works,
            )

    def backend(self) -> None:
        """A web server ends; the address stays."""
        self.lab.kill("web2/web")
        since_s = self.checks("web2's server ends", "web2", "DOWN", self.pace.down())
        self.traffic("web2's server ends", self.cluster.masters(), {"web1"}, self.pace.down().high_s, since_s)
        self.start_backend("web2")
        self.checks("web2's server is back", "web2", "UP", self.pace.up())

    def agent(self) -> None:
        """An agent drains its machine."""
        flag = self.lab.work / "web1" / "drain"
        flag.touch()
        since_s = self.checks("web1's agent drains", "web1", "DRAIN", self.pace.agent(AGENT_EVERY_MS))
        self.traffic("web1's agent drains", self.cluster.masters(), {"web2"}, 0, since_s)
        flag.unlink()
        self.checks("web1's agent is ready", "web1", "UP", self.pace.agent(AGENT_EVERY_MS))

    def haproxy(self) -> None:
        """The script fails, keepalived gives up, and comes back."""
        key, cluster = self.cluster.script, self.cluster
        fails, passes = does("read", "lb1", key, DOWN), does("read", "lb1", key, UP)
        self.election("lb1's haproxy is killed", lambda: self.lab.kill("lb1/haproxy"), fails, lag=cluster.script_down)
        self.election(
            "lb1's haproxy is back",
            lambda: self.start_haproxy("lb1"),
            passes,
            lag=cluster.script_up,
            before=fails,
            outage_s=self.slack_s,
        )

    def node(self) -> None:
        """A machine dies."""
        self.election("lb1 dies", lambda: self.host_dies("lb1"), does("kill", "lb1"))

        def revive() -> None:
            self.lab.plug("lb1")
            self.start_node("lb1")

        # keepalived tells BACKUP once its script has been run once, a moment after it was started.
        self.election(
            "lb1 is back",
            revive,
            does("start", "lb1"),
            before=does("kill", "lb1"),
            lag=Window(0, 0.5),
            outage_s=self.slack_s,
        )

    def link(self) -> None:
        """The cable of a host: a node and a backend are gone at once."""
        pulled = "kvm1's cable is pulled"
        down = self.pace.down(silent=True)
        turns = self.cluster.foretell(does("link_down", "lb1"), lag=Window(0, 1))
        since_s = time.monotonic()
        self.lab.cable("kvm1", "down")
        self.checks(pulled, "web1", "DOWN", down, ("lb2",))
        self.addresses(pulled, turns, since_s)
        self.moved(pulled, {"lb2"})
        took_s = max(one.window.high_s for one in turns if one.state == "MASTER")
        self.traffic(pulled, {"lb2"}, {"web2"}, max(took_s, down.high_s), since_s)
        self.election(
            "kvm1's cable is in again",
            lambda: self.lab.cable("kvm1", "up"),
            does("link_up", "lb1"),
            before=does("link_down", "lb1"),
            lag=Window(0, 1),
            outage_s=self.slack_s,
        )

    def drops(self) -> None:
        """iptables -A INPUT -p vrrp -j DROP, on the backup and on the master."""
        means = ""

        def drop(name: str) -> None:
            nonlocal means
            means = self.lab.drop_vrrp(name)

        deaf, hears = does("block", "lb1", "lb2"), does("unblock", "lb1", "lb2")
        self.election("VRRP to lb2 is dropped", lambda: drop("lb2"), deaf, outage_s=self.slack_s)
        self.say(f"(dropped by {means})")
        self.election(
            "VRRP to lb2 passes", lambda: self.lab.pass_vrrp("lb2", means), hears, before=deaf, outage_s=self.slack_s
        )
        self.election("VRRP to lb1 is dropped", lambda: drop("lb1"), does("block", "lb2", "lb1"), outage_s=0)
        self.lab.pass_vrrp("lb1", means)

    SCENES = (begin, macvlan, backend, agent, haproxy, node, link, drops)

    def table(self) -> Table:
        """All rows."""
        table = Table(box=None, pad_edge=False)
        for title in ("what breaks", "what follows", "foretold", "seen", ""):
            table.add_column(title, overflow="fold")
        for row in self.rows:
            table.add_row(row.broken, row.what, row.foretold, row.seen, "" if row.fits else "NOT AS FORETOLD")
        return table


def end(*_: object) -> None:
    """SIGTERM: leaves the lab by its own door."""
    sys.exit(143)


def main() -> int:
    parser = argparse.ArgumentParser(prog="examples/lab/run", description="Shows failovers as they were foretold.")
    parser.add_argument(
        "--slack", type=float, default=0.5, metavar="S", help="seconds that this machine may add, besides one advert"
    )
    parser.add_argument(
        "--only", action="append", choices=[one.__name__ for one in Story.SCENES[1:]], help="this scene; may repeat"
    )
    parser.add_argument(
        "--keep-logs", type=Path, metavar="DIR", help="copies the logs of all programs there at the end"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, end)
    say = partial(print, flush=True)
    try:
        with Lab() as lab:
            if lab.swept:
                say(f"removed what an earlier lab has left: {lab.swept} namespaces")
            story = Story(lab, say, args.slack)
            try:
                for scene in story.SCENES:
                    if scene is Story.begin or not args.only or scene.__name__ in args.only:
                        scene(story)
            finally:
                if args.keep_logs:
                    with contextlib.suppress(OSError, shutil.Error):
                        shutil.copytree(
                            lab.work,
                            args.keep_logs,
                            ignore=shutil.ignore_patterns("fifo", "*.sock"),
                            dirs_exist_ok=True,
                        )
    except (LabError, RisefallError, subprocess.CalledProcessError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    Console(width=max(Console().width, 150)).print(story.table())
    wrong = [row for row in story.rows if not row.fits]
    print(f"{len(story.rows)} forecasts, {len(wrong)} not as foretold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
