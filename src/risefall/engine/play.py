"""Played backends: listeners on loopback that answer as a script says, from one C thread (native/play.c).

For the demo, the benches and the tests. `Player` is the thread; `python -m risefall.engine.play --cpu 1` is a
process of its own around one, told what to do by lines of JSON, so that a bench can give it a core.
"""

from __future__ import annotations

import argparse
import ipaddress
import resource
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NewType

import msgspec

from risefall.engine._native import ffi, lib
from risefall.engine.native import Owned, refusal
from risefall.errors import RisefallError

Listener = NewType("Listener", int)
ALL = Listener(0xFFFFFFFF)
"""In place of one listener: every one."""


class When(IntEnum):
    """When an act answers: per whole HTTP request, right after accept, once `bytes` bytes came, never."""

    REQUEST = 0
    ACCEPT = 1
    BYTES = 2
    NEVER = 3


class Then(IntEnum):
    """What follows the answer: the connection stays, ends with FIN, is reset, or the act behind this one takes over."""

    STAY = 0
    FIN = 1
    RST = 2
    NEXT = 3


class Door(IntEnum):
    """What a listener does with a connection: accept it, refuse it, or let its SYN wait for ever (queue full)."""

    OPEN = 0
    REFUSE = 1
    DEAF = 2


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one connection is played.

    reply: bytes of the answer; empty with `then` FIN or RST ends the connection without a word.
    bytes_wanted: with When.BYTES, 1..4096. delay_ms: before the first byte. gap_ms: between bytes, 0 for one write.
    endless: the reply is repeated until the peer goes.
    """

    reply: bytes = b""
    when: When = When.REQUEST
    then: Then = Then.STAY
    bytes_wanted: int = 1
    delay_ms: int = 0
    gap_ms: int = 0
    endless: bool = False


class Tally(msgspec.Struct, frozen=True):
    """What was seen since the start. resets, ends: connections that the peer reset, or ended with FIN."""

    accepts: int
    requests: int
    answers: int
    bytes_in: int
    bytes_out: int
    resets: int
    ends: int
    overlong: int
    open: int


class Seen(IntEnum):
    """What a note is about: the listener behaves otherwise from here on; a connection came, got its answer, is gone."""

    TURNED = 0
    ACCEPTED = 1
    ANSWERED = 2
    ENDED = 3


class Note(msgspec.Struct, frozen=True, gc=False):
    """One thing that the player saw. Monotonic; took_ns: of ANSWERED since the request, of ENDED since the accept."""

    at_ns: int
    took_ns: int
    listener: int
    seen: Seen


class Busy(msgspec.Struct, frozen=True):
    """CPU time of the thread and wall time, both since they were last asked."""

    cpu_ns: int
    wall_ns: int

    @property
    def share(self) -> float:
        """0.0 (asleep) .. 1.0 (never asleep)."""
        return self.cpu_ns / self.wall_ns if self.wall_ns else 0.0


def http_reply(status: int, reason: str = "", body: bytes = b"", headers: Sequence[str] = ()) -> bytes:
    """A whole HTTP/1.1 reply with its content-length; an empty reason is left out. headers: lines, `Server: x`."""
    lines = [f"HTTP/1.1 {status} {reason}".rstrip(), f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


NOTES_BATCH = 4096
SILENT = Act(when=When.NEVER)
OK = Act(http_reply(200, "OK"))


def _address(host: str, port: int) -> Any:
    """An rf_address of `127.0.0.1`, `::1`, `/a/path` or `abns@name`."""
    address = ffi.new("rf_address *")
    if host.startswith("/"):
        address.family, raw = lib.RF_UNIX, host.encode()
    elif host.startswith("abns@"):
        address.family, raw = lib.RF_ABSTRACT, host[5:].encode()
    else:
        ip = ipaddress.ip_address(host)
        address.family, raw = (lib.RF_INET if ip.version == 4 else lib.RF_INET6), ip.packed
    if len(raw) > len(address.addr):
        raise RisefallError(f"address too long to listen at: {host}")
    address.port, address.addr_len = port, len(raw)
    ffi.memmove(address.addr, raw, len(raw))
    return address


class Player(Owned):
    """The thread that plays. Close it, or use it with `with`; its methods may be called from any thread.

    Raises: NativeError where the kernel or a bound of the player refuses; RisefallError on an impossible address.
    """

    def __init__(self, *, listeners: int = 1024, connections: int = 16384, cpu: int = -1) -> None:
        super().__init__(lib.rf_play_open(listeners, connections, cpu), lib.rf_play_close, "rf_play_open")
        self._ports: dict[int, int] = {}

    def listen(
        self, host: str = "127.0.0.1", port: int = 0, *acts: Act, repeat_from: int | None = None, backlog: int = 4096
    ) -> tuple[Listener, int]:
        """Listens at an address, path or `abns@name`; silent until it has a script. Returns: the listener, its port."""
        listener, got = ffi.new("uint32_t *"), ffi.new("uint16_t *")
        if lib.rf_play_listen(self._pointer, _address(host, port), backlog, listener, got) != lib.RF_OK:
            raise refusal("rf_play_listen")
        made = Listener(listener[0])
        self._ports[made] = int(got[0])
        if acts:
            self.script(made, *acts, repeat_from=repeat_from)
        return made, int(got[0])

    def port(self, listener: Listener) -> int:
        """Where it listens; 0 for a path."""
        return self._ports[listener]

    def script(self, listener: Listener, *acts: Act, repeat_from: int | None = None) -> None:
        """Connection k from now on plays acts[k]; after the last act it goes round from `repeat_from` on.

        Acts that `Then.NEXT` ties together are played by one connection, and count as one of these. Without
        `repeat_from` the last act (or dialogue) is repeated for ever.
        """
        blob = b"".join(act.reply for act in acts)
        array = ffi.new("rf_play_act[]", len(acts))
        at = 0
        for slot, act in zip(array, acts, strict=True):
            slot.when, slot.then, slot.bytes = act.when, act.then, act.bytes_wanted
            slot.delay_ms, slot.gap_ms, slot.endless = act.delay_ms, act.gap_ms, act.endless
            slot.reply.at, slot.reply.len = at, len(act.reply)
            at += len(act.reply)
        starts = [at for at in range(len(acts)) if at == 0 or acts[at - 1].then is not Then.NEXT]
        start = starts[-1] if repeat_from is None else repeat_from
        if lib.rf_play_script(self._pointer, listener, array, len(acts), start, blob, len(blob)) != lib.RF_OK:
            raise refusal("rf_play_script")

    def door(self, listener: Listener, door: Door) -> None:
        """Opens, shuts or blocks a listener. Its port stays its own; connections under way go on."""
        if lib.rf_play_door(self._pointer, listener, door) != lib.RF_OK:
            raise refusal("rf_play_door")

    def latency(self, listener: Listener, delays_us: Sequence[int], *, seed: int = 1) -> None:
        """Each answer waits one of these besides its act's delay, with equal chance. None of them: no wait."""
        if lib.rf_play_latency(self._pointer, listener, list(delays_us), len(delays_us), seed) != lib.RF_OK:
            raise refusal("rf_play_latency")

    def capacity(self, listener: Listener, service_us: int, *, drop_pct: int = 0) -> None:
        """Answers come one after another, service_us each (0: no limit); each that waits makes the next slower."""
        if lib.rf_play_capacity(self._pointer, listener, service_us, drop_pct) != lib.RF_OK:
            raise refusal("rf_play_capacity")

    def notes(self) -> tuple[list[Note], int]:
        """What was seen since the last call (the first call begins the recording), and how much was lost in all."""
        room, lost = ffi.new("rf_play_note[]", NOTES_BATCH), ffi.new("uint64_t *")
        found: list[Note] = []
        while True:
            length = lib.rf_play_notes(self._pointer, room, len(room), lost)
            if length < 0:
                raise refusal("rf_play_notes")
            found += [Note(one.at_ns, one.took_ns, one.listener, Seen(one.what)) for one in room[0:length]]
            if length < len(room):
                return found, int(lost[0])

    def counts(self, listener: Listener = ALL) -> Tally:
        """Counts of one listener, or of all together."""
        tally = ffi.new("rf_play_tally *")
        if lib.rf_play_counts(self._pointer, listener, tally) != lib.RF_OK:
            raise refusal("rf_play_counts")
        return Tally(*(int(getattr(tally, name)) for name in Tally.__struct_fields__))

    def request(self, listener: Listener, back: int = 0) -> bytes | None:
        """Bytes of a whole request: the last one, or one up to 7 back; None when it never came."""
        room = ffi.new("uint8_t[]", lib.RF_PLAY_REQUEST_MAX)
        length = lib.rf_play_request(self._pointer, listener, back, room, len(room))
        return bytes(ffi.buffer(room, length)) if length >= 0 else None

    def times_ns(self, listener: Listener) -> list[int]:
        """When the last connections were accepted (monotonic ns), oldest first, at most 64."""
        room = ffi.new("uint64_t[]", lib.RF_PLAY_TIMES)
        return [int(at) for at in room[0 : lib.rf_play_times(self._pointer, listener, room, len(room))]]

    def busy(self) -> Busy:
        """How busy the thread was since this was last asked."""
        cpu, wall = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        lib.rf_play_busy(self._pointer, cpu, wall)
        return Busy(int(cpu[0]), int(wall[0]))


# --- a process of its own -------------------------------------------------------------------------


class Listen(msgspec.Struct, tag="listen", tag_field="do", forbid_unknown_fields=True):
    """Answered by the ports (0 for a path), in order of the new listeners."""

    count: int = 1
    host: str = "127.0.0.1"


class Script(msgspec.Struct, tag="script", tag_field="do", forbid_unknown_fields=True):
    """See Player.script; in JSON a reply is base64."""

    acts: list[Act]
    listener: int = ALL
    repeat_from: int | None = None


class SetDoor(msgspec.Struct, tag="door", tag_field="do", forbid_unknown_fields=True):
    """See Player.door."""

    door: Door
    listener: int = ALL


class Counts(msgspec.Struct, tag="counts", tag_field="do", forbid_unknown_fields=True):
    """Answered by a Tally."""

    listener: int = ALL


class AskBusy(msgspec.Struct, tag="busy", tag_field="do", forbid_unknown_fields=True):
    """Answered by a Busy."""


Order = Listen | Script | SetDoor | Counts | AskBusy


def _obey(player: Player, order: Order) -> object:
    """Does one order; returns what is answered."""
    match order:
        case Listen():
            return [player.listen(order.host)[1] for _ in range(order.count)]
        case Script():
            player.script(Listener(order.listener), *order.acts, repeat_from=order.repeat_from)
        case SetDoor():
            player.door(Listener(order.listener), order.door)
        case Counts():
            return player.counts(Listener(order.listener))
        case AskBusy():
            return player.busy()
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Plays until standard input ends. One order a line in, one answer a line out; `{"error": ...}` when refused."""
    parser = argparse.ArgumentParser(prog="risefall.engine.play", description=main.__doc__)
    parser.add_argument("--cpu", type=int, default=-1, help="core of the playing thread")
    parser.add_argument("--listeners", type=int, default=1024)
    parser.add_argument("--connections", type=int, default=16384)
    options = parser.parse_args(argv)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    decoder = msgspec.json.Decoder(Order)
    with Player(listeners=options.listeners, connections=options.connections, cpu=options.cpu) as player:
        for line in sys.stdin.buffer:
            answer: object
            try:
                answer = _obey(player, decoder.decode(line))
            except (RisefallError, msgspec.DecodeError, ValueError) as error:
                answer = {"error": str(error)}
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
