"""The table that risefall-track is answered from: a thread in C, facts that are kept fresh here. Source: native/facts.h."""

from __future__ import annotations

import os
from enum import IntEnum

import trio

from risefall.engine._native import ffi, lib
from risefall.engine.native import Owned, refusal
from risefall.errors import NativeError

PACKET_MAX = lib.RF_FACT_PACKET_MAX
NAME_MAX = lib.RF_FACT_NAME_MAX
STALE_S = 30
"""A start, a reload or a collection may hold the loop for seconds; longer than this is a hang."""
TOUCH_S = 5.0
SAVE_BYTES = 1 << 16


class Kind(IntEnum):
    """What a name is a name of."""

    SERVER = lib.RF_FACT_SERVER
    BACKEND = lib.RF_FACT_BACKEND
    SCRIPT = lib.RF_FACT_SCRIPT
    AGENT = lib.RF_FACT_AGENT


class Facts(Owned):
    """Facts until it is closed. Calls may come from any thread; the thread that answers never takes the GIL."""

    def __init__(self, stale_ns: int) -> None:
        """stale_ns: after so long without `touch` nothing is known any more."""
        pointer = lib.rf_facts_open(stale_ns)
        if pointer == ffi.NULL:
            raise NativeError("rf_facts_open", "ENOMEM", "no memory or no descriptor for the facts of risefall-track")
        super().__init__(pointer, lib.rf_facts_close, "rf_facts_open")

    def listen(self, fd: int) -> None:
        """Answers on a listening, non-blocking socket of the sequenced-packet kind, which must outlive this. Once.

        Raises: NativeError.
        """
        if lib.rf_facts_listen(self._pointer, fd) != lib.RF_OK:
            raise refusal("rf_facts_listen")

    def put(self, kind: Kind, name: bytes, good: bool | None, weight: int = 0, text: bytes = b"") -> None:
        """A fact from now on. good: None for not known. Raises: NativeError for a name that is empty or too long."""
        state = lib.RF_FACT_UNKNOWN if good is None else lib.RF_FACT_GOOD if good else lib.RF_FACT_BAD
        if lib.rf_facts_put(self._pointer, kind, name, len(name), state, weight, text, len(text)) != lib.RF_OK:
            raise refusal("rf_facts_put")

    def drop(self, kind: Kind, name: bytes) -> None:
        """There is none of this name any more."""
        lib.rf_facts_drop(self._pointer, kind, name, len(name))

    def ready(self, kind: Kind, ready: bool = True) -> None:
        """All of a kind have been put: another name is a failure from now on, and not merely unknown."""
        lib.rf_facts_ready(self._pointer, kind, ready)

    def sweep_begin(self, kind: Kind) -> None:
        """What is neither put nor held before `sweep_end` goes."""
        lib.rf_facts_sweep_begin(self._pointer, kind)

    def hold(self, kind: Kind, name: bytes) -> bool:
        """Whether there is such a fact, which outlives the sweep as it is."""
        return bool(lib.rf_facts_hold(self._pointer, kind, name, len(name)))

    def sweep_end(self, kind: Kind) -> int:
        """How many went."""
        return int(lib.rf_facts_sweep_end(self._pointer, kind))

    def touch(self) -> None:
        """Whoever puts facts is alive."""
        lib.rf_facts_touch(self._pointer)

    def answered(self) -> int:
        """Questions so far."""
        return int(lib.rf_facts_answered(self._pointer))

    def changes(self) -> int:
        """Rises with every fact that became another one."""
        return int(lib.rf_facts_changes(self._pointer))

    def save(self) -> bytes:
        """What is known, for `restore`. Takes the lock piece by piece, so that answers do not wait."""
        out, bucket, pieces = ffi.new("char[]", SAVE_BYTES), ffi.new("uint32_t *"), []
        while said := lib.rf_facts_save(self._pointer, bucket, out, SAVE_BYTES):
            pieces.append(bytes(ffi.buffer(out, said)))
        return b"".join(pieces)

    def restore(self, saved: bytes) -> int:
        """Puts what was saved; how many. Raises: NativeError where it cannot be read."""
        taken = int(lib.rf_facts_restore(self._pointer, saved, len(saved)))
        if taken < 0:
            raise refusal("rf_facts_restore")
        return taken

    def ask(self, question: bytes) -> bytes:
        """What a client would be answered."""
        out = ffi.new("char[]", PACKET_MAX)
        return bytes(ffi.buffer(out, lib.rf_facts_ask(self._pointer, question, len(question), out)))


class Board:
    """The facts of one process."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def publish(self, kind: Kind, name: str, good: bool | None, weight: int = 0, reason: str = "") -> None:
        """A fact from now on. good: None while it is not known. weight: what --min-up or --min-weight compares with.

        A name that is too long to be asked for is passed over.
        """
        raw = os.fsencode(name)
        if 0 < len(raw) <= NAME_MAX:
            self.facts.put(kind, raw, good, max(weight, 0), reason.encode(errors="replace"))

    def withdraw(self, kind: Kind, name: str) -> None:
        """There is none of this name any more."""
        self.facts.drop(kind, os.fsencode(name))

    def complete(self, kind: Kind) -> None:
        """All of a kind have been published once."""
        self.facts.ready(kind)

    async def run(self) -> None:
        """Shows for ever that this process is alive; without it all facts are old after `STALE_S`."""
        while True:
            self.facts.touch()
            await trio.sleep(TOUCH_S)
