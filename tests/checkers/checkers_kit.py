"""Checkers of a text in virtual time, whose attempts are played: what is said, called, and when it is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio
import trio.testing

from risefall.checkers.pace import MACHINES, Ended, Misc, Paced
from risefall.checkers.plan import plan
from risefall.checkers.pool import Pool
from risefall.checkers.running import Runner
from risefall.checkers.words import Attempt, Due, Line, Out, Verdict
from risefall.config.keepalived import read
from risefall.config.keepalived.model import Config
from risefall.config.text import Source
from risefall.vrrp.notify import FifoLine, Mail, Run

PASS, FAIL = Attempt(Verdict.PASS, "HTTP status code"), Attempt(Verdict.FAIL, "failed")
UNMADE = Attempt(Verdict.UNMADE, said=("not made",))
POOL = """global_defs {{
 router_id t
 script_user root
 {defaults}
}}
virtual_server 10.0.0.1 80 {{
 lb_algo rr
 lb_kind NAT
 protocol TCP
 warmup 0
 {lines}
{servers}
}}
"""


def reading(servers: str, lines: str = "", defaults: str = "") -> Config:
    return read(Source("x.conf", POOL.format(servers=servers, lines=lines, defaults=defaults)))


def server(number: int, *checks: str, lines: str = "") -> str:
    body = "\n".join((lines, *checks))
    return f"real_server 10.0.1.{number} 80 {{\n{body}\n}}\n"


def check(kind: str, *lines: str) -> str:
    return "\n".join((f"{kind} {{", *lines, "}"))


class Stage:
    """One pool with its machines."""

    def __init__(self, config: Config) -> None:
        self.out: list[Out] = []
        self.pool = Pool(plan(config)[0], config.global_, self.out.append)
        self.machines: list[Paced] = [
            MACHINES[planned.config.kind](planned, one, self.pool, config.global_, self.out.append)
            for one in self.pool.servers
            for planned in one.planned.checkers
            if not planned.why_not
        ]

    @property
    def lines(self) -> list[str]:
        """What has been said since the last look."""
        found = [one.text for one in self.out if isinstance(one, Line)]
        self.out.clear()
        return found

    @property
    def calls(self) -> list[str]:
        """What has been called since the last look."""
        found = []
        for one in self.out:
            if isinstance(one, Due):
                match one.call:
                    case Run(argv=argv):
                        found.append(" ".join(argv))
                    case FifoLine(text=text):
                        found.append(text.rstrip())
                    case Mail(subject=subject, body=body):
                        found.append(f"{subject} {body}")
        self.out.clear()
        return found


def tried(stage: Stage, results: Iterable[Attempt | Ended], *, for_s: float, takes_s: float = 0) -> list[float]:
    """Runs the only machine of a stage for a while; when each attempt began. results: the last one goes on for ever."""
    began: list[float] = []
    left = list(results)

    async def make(machine: Paced) -> Attempt | Ended:
        began.append(round(trio.current_time() - zero, 3))
        await trio.sleep(takes_s)
        return left.pop(0) if len(left) > 1 else left[0]

    async def run() -> None:
        nonlocal zero
        zero = trio.current_time()
        for machine in stage.machines:
            machine.due_us = int(zero * 1e6)
        with trio.move_on_after(for_s):
            await Runner(stage.machines, make).run()

    zero = 0.0
    in_virtual_time(run)
    return began


def in_virtual_time(test: Callable[[], object]) -> None:
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def misc_of(stage: Stage) -> Misc:
    machine = stage.machines[0]
    assert isinstance(machine, Misc)
    return machine
