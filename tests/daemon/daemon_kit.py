"""A service on played backends, under trio: a configuration, conditions to wait for, and its end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import trio

from risefall.config.haproxy import plan, read
from risefall.config.haproxy.dialect import DIALECTS
from risefall.config.haproxy.plan import Loaded
from risefall.config.text import Source
from risefall.daemon.options import Options
from risefall.daemon.service import Service
from risefall.surfaces.calls import Level
from risefall.surfaces.runtime import Session

DEADLINE_S = 20.0
POLL_S = 0.01


def loaded(text: str, dialect: str = "2.6") -> Loaded:
    """A configuration as the commands hand it over."""
    config = read([Source("t.cfg", text)], dialect=dialect)
    return Loaded(config, plan(config), DIALECTS[dialect])


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for an observed condition."""
    with trio.move_on_after(DEADLINE_S):
        while not condition():
            await trio.sleep(POLL_S)
        return
    raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}")


@contextlib.asynccontextmanager
async def running(text: str, dialect: str = "2.6", **options: object) -> AsyncIterator[Service]:
    """The service while it runs; `log` is `none` and there is no socket unless asked for."""
    asked: dict[str, object] = {"log": "none", "runtime_socket": False, **options}
    reread = asked.pop("reread", None)
    service = Service(loaded(text, dialect), Options(**asked), reread)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        yield service
        nursery.cancel_scope.cancel()


def status(service: Service, name: str) -> str:
    """The status column of one server."""
    return next(row.status for row in service.rows() if row.name == name)


def say(service: Service, commands: str) -> str:
    """What a client of the runtime socket is answered."""
    return Session(service.api, Level.ADMIN).feed(f"{commands.rstrip()}\n".encode()).decode()


async def ask(path: Path, command: str) -> str:
    """One command on the runtime socket."""
    with trio.fail_after(DEADLINE_S):
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(command.encode() + b"\n")
            return b"".join([data async for data in stream]).decode()
