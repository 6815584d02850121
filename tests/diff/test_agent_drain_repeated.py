"""A drain that stands: a real HAProxy hears it in every answer, logs it once, and hears it again after its own restart.

haproxy 2.6.12 logs "remains in forced drain mode" whenever a drained server hears a weight, not when it hears `drain` again; so
the weight is said once. Takes about four seconds of real time.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
import trio

from risefall.agent.leases import OrderWord, Slot, make_order
from risefall.agent.machine import this_machine
from risefall.agent.service import Service
from risefall.agent.settings import Agent, Settings
from risefall.agent.settings import Service as ServiceSettings
from test_agent_words_effect import FDRAIN, RUNNING, Peer, ask, haproxy, until

LONG_S = 60.0
POLLS = 15
REMAINS = "remains in forced drain mode"


async def story(folder: Path) -> None:
    settings = Settings(
        agent=Agent(listen=("127.0.0.1:0",), send_ms=5000), service={"app": ServiceSettings(send="app")}
    )
    service = Service(settings, this_machine(), None, lambda line: None)
    async with trio.open_nursery() as nursery:
        port = (await nursery.start(service.run))[0][1]

        def give(weight_pct: int | None = None) -> None:
            word = OrderWord.DRAIN if weight_pct is None else OrderWord.WEIGHT
            service.desk.give(make_order("app", word, 0, weight_pct=weight_pct, reason="deploy"))
            service.ordered()

        async def polled(count: int) -> None:
            wanted = service.counts().answered + count
            while service.counts().answered < wanted:
                await trio.sleep(0.02)

        async def state() -> tuple[int, int, int]:
            await trio.lowlevel.checkpoint()
            return peer.states()["app"]

        async with haproxy(folder, {"app": port}) as peer:
            await until(state, (RUNNING, 0, 100), "up")
            give()
            await until(state, (RUNNING, FDRAIN, 100), "drained")
            await polled(POLLS)
            assert [await ask(port, "app else\n") for _ in range(2)] == ["up drain 100% #deploy", "up drain #deploy"]
            give(50)  # a new order is heard whole, once
            await until(state, (RUNNING, FDRAIN, 50), "of another weight")
            await polled(POLLS)
            assert sum(REMAINS in line for line in peer.said("app")) <= 2
        for old in ("s", "f"):
            (folder / old).unlink(missing_ok=True)
        async with haproxy(folder, {"app": port}) as peer:  # which knows nothing of before
            await until(state, (RUNNING, FDRAIN, 100), "drained again")
            for slot in Slot:
                service.desk.release("app", slot)
            service.ordered()
            await until(state, (RUNNING, 0, 100), "back")
            await logged_nothing_more(peer)
        service.stop()


async def logged_nothing_more(peer: Peer) -> None:
    await trio.lowlevel.checkpoint()
    assert sum(REMAINS in line for line in peer.said("app")) <= 1


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_a_drain_is_said_in_every_answer_and_logged_once() -> None:
    async def main(folder: Path) -> None:
        with trio.fail_after(LONG_S):
            await story(folder)

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder))
