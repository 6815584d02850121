"""Where events meet the state: orders in order through a full queue, and no state lost with a full ring."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
from daemon_kit import running, until

from risefall.engine import workers as workers_module
from risefall.engine.native import Change, Engine
from risefall.engine.play import OK, Door, Player
from risefall.engine.workers import CheckId, Workers
from risefall.state.commands import set_state
from risefall.state.server import Op

TEXT = "defaults\n  mode http\n  option httpchk\n  default-server inter 50ms rise 1 fall 1\nbackend b\n"


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=16, connections=1024) as one:
        yield one


def test_a_full_ring_loses_lines_but_no_state(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring of two events and two hundred servers that change at once: every state arrives all the same."""

    class Narrow(Engine):
        def __init__(self, **options: int) -> None:
            super().__init__(**options, ring_len=2)

    monkeypatch.setattr(workers_module, "Engine", Narrow)
    door, port = player.listen("127.0.0.1", 0, OK)
    servers = "".join(f"  server s{i} 127.0.0.1:{port} check\n" for i in range(200))

    async def scenario() -> None:
        async with running(TEXT + servers) as service:
            fleet = service.fleet
            for opened, op in ((False, Op.STOPPED), (True, Op.RUNNING), (False, Op.STOPPED)):
                player.door(door, Door.OPEN if opened else Door.REFUSE)
                await until(lambda op=op: all(one.op is op for one in fleet.servers), f"all {op.name}")  # type: ignore[misc]
            assert service.present.join.workers.statistics()[0].events_dropped > 0

    trio.run(scenario)


def test_orders_that_find_the_queue_full_wait_in_order(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue refuses for a while: later orders wait behind the first, and all arrive."""
    _, port = player.listen("127.0.0.1", 0, OK)
    sent: list[int] = []
    refuse = [True]
    command = Workers.command

    def sometimes(self: Workers, check: CheckId, change: Change) -> bool:
        if refuse[0]:
            return False
        sent.append(change.epoch)
        return command(self, check, change)

    async def scenario() -> None:
        async with running(f"{TEXT}  server s1 127.0.0.1:{port} check\n") as service:
            await until(lambda: service.present.handled > 0, "the first result")
            monkeypatch.setattr(Workers, "command", sometimes)
            for word in ("maint", "ready", "maint", "ready"):
                service.api.apply(set_state(service.fleet, 0, word, service.api.now_ms()))
            assert sent == []
            refuse[0] = False
            await until(lambda: len(sent) == 4, "every order sent")
            assert sent == sorted(sent)

    trio.run(scenario)
