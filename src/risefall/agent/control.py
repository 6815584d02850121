"""The agent's control socket: an operator's orders, and what there is to see.

Whoever may open the socket may order; its mode keeps everybody else out. A client gets one answer. All of a client, from
its connect to the last byte of its answer, has one deadline; places are few, and whoever has said nothing for longest
gives his up, so nobody can keep an operator out for long, and the answering path (in C) never notices any of it.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec
import trio

from risefall.agent.desk import Desk
from risefall.agent.explain import render_tree
from risefall.agent.leases import Order, OrderWord, Slot, length, make_order, plain, slot_of
from risefall.agent.voice import Voice
from risefall.agent.wire import ASK_MAX_BYTES, Ask, Do, Heard, Said, Seen, Shown
from risefall.errors import StartError
from risefall.surfaces.serve import Guests, accept, bind, unlink_own

KEEP_S = 2.0
"""So long an order waits to be on the disk before it is said; a disk that hangs keeps no operator from being obeyed."""
CLIENTS_MAX = 16
CLIENT_S = 5.0
CREDENTIALS = struct.Struct("3i")
"""pid, uid, gid; unix(7), SO_PEERCRED."""
Clock = Callable[[], int]
Log = Callable[[str], None]
Answer = Callable[[Ask, int], Awaitable[Said]]


@contextmanager
def control_socket(path: str, *, required: bool, log: Log) -> Iterator[socket.socket | None]:
    """The listening socket, with its folder, for as long as the agent runs. One that nobody asked for may be missing.

    Raises: StartError when a required one cannot be had.
    """
    try:
        opened = open_control(path)
    except StartError as error:
        if required:
            raise
        log(f"note: no control socket: {error}")
        yield None
        return
    mine = os.lstat(path)
    try:
        with opened:
            yield opened
    finally:
        unlink_own(path, mine)


def open_control(path: str) -> socket.socket:
    """Raises: StartError."""
    with suppress(OSError):  # bind tells what is wrong with the folder
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    return bind(path, mode=0o600)


class Control:
    """What may be asked, and who is told of orders.

    desk, voice, ports: those of the moment, as a reload makes others. ports: of each service, and whether they are its own
    alone. settled: waits until orders are on the disk; why they are not.
    """

    def __init__(
        self,
        desk: Callable[[], Desk],
        voice: Callable[[], Voice],
        ports: Callable[[], dict[str, tuple[tuple[int, ...], bool]]],
        *,
        now_ns: Clock,
        wall_ns: Clock,
        settled: Callable[[], Awaitable[str]],
        ordered: Callable[[], None],
        log: Log,
    ) -> None:
        self._desk = desk
        self._voice = voice
        self._ports = ports
        self._now_ns = now_ns
        self._wall_ns = wall_ns
        self._settled = settled
        self._ordered = ordered
        self._log = log

    async def answer(self, ask: Ask, uid: int) -> Said:
        """Does what is asked by a user; or says why not. An order is on the disk before anybody hears of it."""
        known = self._desk().services()
        if ask.service and ask.service not in known:
            return Said(error=f"no service '{ask.service}'; there are: {', '.join(known)}", unknown=True)
        if ask.do is Do.SHOW:
            return self.look(ask.service)
        if not ask.service:
            return Said(error="which service?", unknown=True)
        warning = ""
        if ask.do is Do.RELEASE:
            for slot in Slot:
                self._desk().book.announce(ask.service, slot, None)
            try:
                warning = await self._keep()
            finally:
                gone = [self._desk().release(ask.service, slot) for slot in Slot]
                ended = tuple(order for order in gone if order is not None)
                self._log(f"{ask.service}: orders released by {asker(uid, ask.who)}: {len(ended)}")
                self._ordered()
        else:
            try:
                order = make_order(
                    ask.service,
                    OrderWord(ask.do.value),
                    self._wall_ns(),
                    lease_ms=ask.lease_ms,
                    weight_pct=ask.weight_pct,
                    who=asker(uid, ask.who),
                    reason=ask.reason,
                )
            except ValueError as error:
                return Said(error=str(error))
            self._desk().book.announce(order.service, slot_of(order.word), order)
            try:
                warning = await self._keep()
            finally:  # whoever has ordered may be gone meanwhile; the order stands
                before = self._desk().give(order)
                ended = () if before is None else (before,)
                self._log(spoken(order))
                self._ordered()
        if ask.service not in self._desk().services():
            stands = "" if ask.do is Do.RELEASE else "; the order stands for when it comes back"
            return Said(error=f"the service '{ask.service}' went with a reload meanwhile{stands}", unknown=True)
        return msgspec.structs.replace(self.look(ask.service), ended=ended, warning=warning)

    async def _keep(self) -> str:
        """Waits until what was announced is on the disk, but not for long; why it is not."""
        with trio.move_on_after(KEEP_S):
            return await self._settled()
        return f"the disk has not taken it within {KEEP_S:g} s"

    def look(self, service: str = "") -> Said:
        """All there is to see of a service, or of all."""
        names = [service] if service else self._desk().services()
        return Said(now_ns=self._wall_ns(), services=tuple(self.shown(name) for name in names))

    def shown(self, name: str) -> Shown:
        """All there is to see of one service."""
        now_ns, wall_ns = self._now_ns(), self._wall_ns()
        version = self._desk().version(name)
        ports, alone = self._ports().get(name, ((), True))
        return Shown(
            standing=self._desk().standing(name, now_ns, wall_ns),
            orders=self._desk().book.standing(name, wall_ns),
            signals=tuple(self._signals(name, now_ns)),
            balancers=tuple(
                Heard(balancer=str(told.peer), ago_s=(now_ns - told.at_ns) / 1e9, current=told.word == version)
                for told in self._voice().polling(now_ns)[name]
            ),
            ports=ports,
            alone=alone,
            explained=render_tree(self._desk().explain(name, now_ns, wall_ns)),
        )

    def _signals(self, name: str, now_ns: int) -> Iterator[Seen]:
        readings = self._desk().readings(name)
        for signal in self._desk().settings.service[name].signal:
            reading = readings.get(signal.name)
            if reading is None:
                yield Seen(name=signal.name, failure="not read yet")
                continue
            age_s = None if reading.value is None else (now_ns - reading.at_ns) / 1e9
            yield Seen(name=signal.name, value=reading.value, age_s=age_s, text=reading.text, failure=reading.failure)


def asker(uid: int, claimed: str) -> str:
    """Who orders: the user whom the kernel names. root may say for whom (sudo, a deploy); nobody else may."""
    if uid == 0 and plain(claimed):
        return plain(claimed)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def spoken(order: Order) -> str:
    """An order as the agent logs it."""
    word = order.word.value if order.weight_pct is None else f"weight {order.weight_pct}%"
    lease = "" if order.ends_ns is None else f" for {length(order.ends_ns - order.given_ns)}"
    return f"{order.service}: '{word}'{lease} by {order.who}" + (f": {order.reason}" if order.reason else "")


async def serve_control(opened: socket.socket, answer: Answer) -> None:
    """Answers clients until it is cancelled."""
    with trio.socket.from_stdlib_socket(opened.dup()) as listener:
        guests = Guests(CLIENTS_MAX)
        async with trio.open_nursery() as nursery:
            while True:
                client = await accept(listener)
                await guests.take_place()
                nursery.start_soon(serve_client, client, guests, answer)


async def serve_client(client: trio.socket.SocketType, guests: Guests, answer: Answer) -> None:
    """One client to its end."""
    try:
        with client, trio.move_on_after(CLIENT_S), suppress(OSError):
            line = await guests.first_line(client, CLIENT_S)
            if not line:
                return
            uid = CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))[1]
            rest = memoryview(msgspec.json.encode(await reply_to(line, uid, answer)) + b"\n")
            while rest:
                rest = rest[await client.send(rest) :]
    finally:
        guests.leave()


async def reply_to(line: bytes, uid: int, answer: Answer) -> Said:
    """The reply to whatever has come."""
    await trio.lowlevel.checkpoint()
    if len(line) > ASK_MAX_BYTES:
        return Said(error="too long")
    try:
        ask = msgspec.json.decode(line.partition(b"\n")[0], type=Ask)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        return Said(error=f"this is the control socket of risefall agent, which wants one line of JSON: {error}")
    return await answer(ask, uid)
