"""What stands, said again and again: what a real HAProxy logs of it at each poll, and what it has after `ready`.

haproxy 2.6.12 logs "remains in forced drain mode" whenever a drained server hears a weight, whoever drained it, and neither when
it hears `drain` again, nor at a weight in maintenance or while DOWN. So the weight, which is in every answer, costs a line a
poll for as long as a drain stands; with `quiet_drain` it is said once. Takes about five seconds of real time.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import trio

from risefall.agent.leases import OrderWord, Slot, make_order
from risefall.agent.machine import this_machine
from risefall.agent.service import Service
from risefall.agent.settings import Agent, Condition, File, MaxConn, Op, Say, Settings
from risefall.agent.settings import Service as ServiceSettings
from test_agent_words_effect import FDRAIN, FMAINT, NONE, RUNNING, STOPPED, Peer, ask, haproxy, until

LONG_S = 60.0
POLLS = 10
REMAINS = "remains in forced drain mode"

# order, condition -> the line, while it stands | state and weight on HAProxy | whether each poll is logged
STANDING = """
-     -       | up 40% maxconn:9             | 2 0 40 | no
drain -       | up drain 40% maxconn:9       | 2 8 40 | yes
drain down    | down drain 40% maxconn:9     | 0 8 40 | yes
drain stopped | stopped drain 40% maxconn:9  | 0 8 40 | yes
maint -       | up maint 40% maxconn:9       | 0 1 40 | no
maint down    | down maint 40% maxconn:9     | 0 1 40 | no
-     drain   | up drain 40% maxconn:9 #here | 2 8 40 | yes
-     maint   | up maint 40% maxconn:9 #here | 0 1 40 | no
-     down    | down 40% maxconn:9 #here     | 0 0 40 | no
-     stopped | stopped 40% maxconn:9 #here  | 0 0 40 | no
-     fail    | fail 40% maxconn:9 #here     | 0 0 40 | no
"""
OPERATOR = {"odrain": ("drain", FDRAIN, True), "omaint": ("maint", FMAINT, False)}
"""What somebody sets on HAProxy itself while the agent says `up 40%`: the word, its bit, and whether each poll is logged."""


class Row:
    """One service of the table."""

    def __init__(self, number: int, text: str) -> None:
        cause, line, effect, logged = (part.strip() for part in text.split("|"))
        self.name = f"s{number}"
        self.order, self.condition = cause.split()
        self.line = line if self.condition == NONE or self.order == NONE else f"{line} #here"
        self.effect = tuple(map(int, effect.split()))
        self.logged = logged == "yes"


ROWS = [Row(number, text) for number, text in enumerate(STANDING.strip().splitlines())]


def service_of(folder: Path, name: str, condition: str) -> ServiceSettings:
    """Weight 40 %, limit 9; the condition holds while a file is there."""
    signal = File(name="flag", path=str(folder / f"{name}.flag"), every_ms=50, curve=((0, 40), (1, 40)))
    states = (
        ()
        if condition == NONE
        else (Condition(say=Say(condition), signal="flag", op=Op.EQUAL, value=1, reason="here"),)
    )
    limit = MaxConn(signal="flag", curve=((0, 9), (1, 9)), divide=False)
    return ServiceSettings(send=name, signal=(signal,), state=states, maxconn=limit, smooth_ms=0, step_pct=10_000)


async def standing(folder: Path) -> None:
    """Every service at once: its words come, stand for many polls, and are taken back."""
    conditions = {row.name: row.condition for row in ROWS} | dict.fromkeys(OPERATOR, NONE)
    settings = Settings(
        agent=Agent(listen=("127.0.0.1:0",), send_ms=5000, connections_per_source=1000),
        service={name: service_of(folder, name, condition) for name, condition in conditions.items()},
    )
    service = Service(settings, this_machine(), None, lambda line: None)
    async with trio.open_nursery() as nursery:
        port = (await nursery.start(service.run))[0][1]
        async with haproxy(folder, dict.fromkeys(conditions, port)) as peer:

            async def all_are(wanted: dict[str, tuple[int, ...]], where: str) -> None:
                async def states() -> dict[str, tuple[int, ...]]:
                    await trio.lowlevel.checkpoint()
                    return dict(peer.states())

                await until(states, wanted, where)

            async def line() -> str:
                return await ask(port, f"{row.name} test\n")

            up = dict.fromkeys(conditions, (RUNNING, 0, 40))
            await all_are(up, "up")
            for row in ROWS:
                if row.order != NONE:
                    service.desk.give(make_order(row.name, OrderWord(row.order), 0))
                (folder / f"{row.name}.flag").touch()
            service.ordered()
            for name, (word, _, _) in OPERATOR.items():
                peer.ask(f"set server {name}/app state {word}")
            theirs = {name: (STOPPED if bit is FMAINT else RUNNING, bit, 40) for name, (_, bit, _) in OPERATOR.items()}
            await all_are({row.name: row.effect for row in ROWS} | theirs, "standing")
            for row in ROWS:
                await until(line, row.line, row.name)
            before = remains(peer)
            await polled(service, POLLS, len(conditions))
            for row in ROWS:
                assert await line() == row.line  # to the letter, however often it was said
            after = remains(peer)
            wanted = {row.name: row.logged for row in ROWS} | {
                name: logged for name, (_, _, logged) in OPERATOR.items()
            }
            assert {name: after[name] - before[name] > POLLS // 2 for name in conditions} == wanted, (before, after)
            assert {name: after[name] > 0 for name in conditions} == wanted
            for row in ROWS:
                service.desk.release(row.name, Slot.STATE)
                (folder / f"{row.name}.flag").unlink()
            service.ordered()
            await all_are(up | theirs, "back")
        service.stop()


def remains(peer: Peer) -> Counter[str]:
    """How often the log has said of each backend's server that it remains drained."""
    peer.said("")
    lines = (line.partition(" Server ")[2] for line in peer.lines if REMAINS in line)
    return Counter(line.partition("/")[0] for line in lines)


async def polled(service: Service, count: int, servers: int = 1) -> None:
    """Until each server has polled so often."""
    wanted = service.counts().answered + count * servers
    while service.counts().answered < wanted:
        await trio.sleep(0.02)


async def quiet(folder: Path) -> None:
    """`quiet_drain`: the weight once, also when a new order comes, and again after HAProxy's own restart."""
    settings = Settings(
        agent=Agent(listen=("127.0.0.1:0",), send_ms=5000, quiet_drain=True),
        service={"app": ServiceSettings(send="app")},
    )
    service = Service(settings, this_machine(), None, lambda line: None)
    async with trio.open_nursery() as nursery:
        port = (await nursery.start(service.run))[0][1]

        def give(weight_pct: int | None = None) -> None:
            word = OrderWord.DRAIN if weight_pct is None else OrderWord.WEIGHT
            service.desk.give(make_order("app", word, 0, weight_pct=weight_pct, reason="deploy"))
            service.ordered()

        async def state() -> tuple[int, int, int]:
            await trio.lowlevel.checkpoint()
            return peer.states()["app"]

        async with haproxy(folder, {"app": port}) as peer:
            await until(state, (RUNNING, 0, 100), "up")
            give()
            await until(state, (RUNNING, FDRAIN, 100), "drained")
            await polled(service, POLLS)
            assert [await ask(port, "app else\n") for _ in range(2)] == ["up drain 100% #deploy", "up drain #deploy"]
            give(50)  # a new order is heard whole, once
            await until(state, (RUNNING, FDRAIN, 50), "of another weight")
            await polled(service, POLLS)
            assert remains(peer)["app"] <= 2
        for old in ("s", "f"):
            (folder / old).unlink(missing_ok=True)
        async with haproxy(folder, {"app": port}) as peer:  # which knows nothing of before
            await until(state, (RUNNING, FDRAIN, 100), "drained again")
            for slot in Slot:
                service.desk.release("app", slot)
            service.ordered()
            await until(state, (RUNNING, 0, 100), "back")
            assert remains(peer)["app"] <= 1
        service.stop()


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
@pytest.mark.parametrize("story", [standing, quiet])
def test_what_stands_is_in_every_answer_and_what_that_costs_in_the_log(story: object) -> None:
    async def main(folder: Path) -> None:
        with trio.fail_after(LONG_S):
            await story(folder)  # type: ignore[operator]

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder))
