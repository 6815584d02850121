"""One worker: checks, their timers and sockets, and the thread that drives them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from risefall.engine._native import ffi, lib
from risefall.engine.figures import FIGURES
from risefall.engine.native.calls import fill_address, refusal
from risefall.engine.native.checks import CheckSpec, Process, Program, fill_check
from risefall.engine.native.owned import Owned
from risefall.engine.native.probe import Probe
from risefall.engine.native.records import Change, Event, Handle, Record, read_event, read_record
from risefall.engine.native.statistics import Statistics, read_statistics

DRAIN_MAX = 1024
DIRTY_MAX = 4096

SETTERS = (
    ("health", lib.RF_SET_HEALTH),
    ("paused", lib.RF_SET_PAUSED),
    ("enabled", lib.RF_SET_ENABLED),
    ("stopped", lib.RF_SET_STOPPED),
    ("weight", lib.RF_SET_WEIGHT),
)


class Engine(Owned):
    """One worker: a thread in C with its own checks, slots and sockets, all of which end with `close`."""

    def __init__(
        self,
        *,
        checks_max: int,
        slots: int,
        bufsize: int = 16384,
        groups: int = 0,
        gather_us: int = 1500,
        seed: int = 0,
        ring_len: int = 16384,
        queue_len: int = 16384,
    ) -> None:
        """Raises NativeError when the system refuses (descriptors, memory)."""
        options = ffi.new(
            "rf_options *",
            {
                "slots": slots,
                "checks_max": checks_max,
                "ring_len": ring_len,
                "queue_len": queue_len,
                "bufsize": bufsize,
                "groups": groups,
                "gather_us": gather_us,
                "seed": seed or int.from_bytes(os.urandom(7)),
            },
        )
        super().__init__(lib.rf_open(options), lib.rf_close, "engine")
        self._events = ffi.new("rf_event[]", DRAIN_MAX)
        self._reading = ffi.new("rf_statistics *")
        self._dirty = ffi.new("uint64_t[]", DIRTY_MAX)
        self._check = ffi.new("rf_check *")
        self._handle = ffi.new("uint64_t *")
        self._order = ffi.new("rf_order *")
        self.slots = slots
        self.queue_len = queue_len

    def start(self, cpu: int = -1) -> None:
        """Starts the thread, on one processor if `cpu` is not -1."""
        if lib.rf_start(self._pointer, cpu) != lib.RF_OK:
            raise refusal("engine thread")

    def stop(self) -> None:
        """Ends the thread; checks under way are left where they stand."""
        if lib.rf_stop(self._pointer) != lib.RF_OK:
            raise refusal("engine thread")

    def step(self, now_ns: int) -> int:
        """One turn without the thread; when the next is wanted at the latest."""
        return int(lib.rf_step(self._pointer, now_ns))

    def inject(self, call: int, error: int, times: int) -> None:
        """Test seam: the next calls of a kind fail."""
        lib.rf_inject(self._pointer, call, error, times)

    def add(self, program: Program, spec: CheckSpec) -> Handle | None:
        """Adds a check; None when the queue is full just now. Raises NativeError when it cannot be."""
        fill_check(self._check, spec)
        result = lib.rf_add(self._pointer, program.pointer, self._check, spec.site, len(spec.site), self._handle)
        if result == lib.RF_OK:
            return Handle(self._handle[0])
        if result == lib.RF_FULL and lib.rf_last_errno() == 0 and self.running:
            return None
        raise refusal("add check")

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return bool(lib.rf_running(self._pointer))

    def remove(self, check: Handle) -> bool:
        """Takes a check away; false when the queue is full just now."""
        return bool(lib.rf_remove(self._pointer, check) == lib.RF_OK)

    def command(self, check: Handle, change: Change) -> bool:
        """Orders a change; false when the queue is full just now. A check that is gone is no error."""
        order = self._order
        order.check = check
        order.epoch = change.epoch
        order.set = lib.RF_SET_TOUCHED if change.touched else 0
        for name, flag in SETTERS:
            value = getattr(change, name)
            if value is not None:
                setattr(order, name, value)
                order.set |= flag
        if change.state_text is not None:
            text = change.state_text.encode()[: lib.RF_STATE_TEXT_MAX]
            ffi.memmove(order.state_text, text, len(text))
            order.state_text_len = len(text)
            order.set |= lib.RF_SET_STATE_TEXT
        if change.now:
            order.set |= lib.RF_SET_NOW
        if change.to is not None:
            fill_address(order.to, change.to)
            order.set |= lib.RF_SET_TARGET | (lib.RF_SET_KEEP_PACE if change.keep_pace else 0)
        return bool(lib.rf_command(self._pointer, order) != lib.RF_FULL)

    def set_program(self, check: Handle, program: Program) -> bool:
        """Gives a check another program, such as an agent's other text; false when the queue is full just now."""
        return bool(lib.rf_set_program(self._pointer, check, program.pointer) != lib.RF_FULL)

    def set_site(self, check: Handle, site: bytes, process: Process | None) -> bool:
        """Gives a check other texts of its server, and another process where it has one; false when the queue is full just now."""
        pointer = ffi.NULL if process is None else process.pointer
        return bool(lib.rf_set_site(self._pointer, check, site, len(site), pointer) != lib.RF_FULL)

    def group_weight(self, group: int, total_weight: int) -> bool:
        """Tells a group's total weight; false when the queue is full just now."""
        return bool(lib.rf_group_weight(self._pointer, group, total_weight) == lib.RF_OK)

    def observed(self, check: Handle, ceiling: int, text: bytes, *, again: bool = False) -> bool:
        """What traffic did to a check; see `rf_observed`. False when the queue is full just now."""
        return bool(lib.rf_observed(self._pointer, check, ceiling, again, text, len(text)) == lib.RF_OK)

    def report(self, check: Handle, run: int, probe: Probe) -> bool:
        """Brings the end of an outside check's run; false when the queue is full just now."""
        result = ffi.new("rf_result *")
        probe.copy_result(result)
        return bool(lib.rf_report(self._pointer, check, run, result) == lib.RF_OK)

    def fileno(self) -> int:
        """Readable while there is something to drain."""
        return int(lib.rf_event_fd(self._pointer))

    def clear(self) -> None:
        """Makes `fileno` unreadable until there is news; before draining."""
        lib.rf_event_clear(self._pointer)

    def nudge(self) -> None:
        """Wakes the thread for one turn: `turns` rises soon, or the thread does not move."""
        lib.rf_nudge(self._pointer)

    @property
    def turns(self) -> int:
        """Turns of the thread since the start."""
        return int(self._counters().polls)

    @property
    def self_blamed(self) -> int:
        """Checks since the start that could not be made for a want of our own."""
        return int(self._counters().self_blamed)

    def rest(self) -> None:
        """Gives back memory that a burst of commands has filled; now and then."""
        lib.rf_rest(self._pointer)

    def drain(self) -> list[Event]:
        """At most DRAIN_MAX events, oldest first."""
        count = lib.rf_drain(self._pointer, self._events, DRAIN_MAX)
        return [read_event(self._events[i]) for i in range(count)]

    def drain_dirty(self) -> list[Handle]:
        """Checks whose event was dropped because the ring was full: read their records."""
        count = lib.rf_drain_dirty(self._pointer, self._dirty, DIRTY_MAX)
        return [Handle(self._dirty[i]) for i in range(count)]

    def snapshot(self, checks: Sequence[Handle]) -> list[Record | None]:
        """The records of many checks, None for those that are gone."""
        if not checks:
            return []
        handles = ffi.new("uint64_t[]", list(checks))
        records = ffi.new("rf_record[]", len(checks))
        lib.rf_snapshot(self._pointer, handles, len(checks), records)
        return [read_record(records[i]) for i in range(len(checks))]

    def figures(self, checks: Sequence[Handle]) -> list[tuple[Any, ...]]:
        """What the records of many checks show, without an object each: values in the order of `figures.FIELDS`."""
        handles = ffi.new("uint64_t[]", list(checks))
        records = ffi.new("rf_record[]", len(checks))
        lib.rf_snapshot(self._pointer, handles, len(checks), records)
        return list(FIGURES.iter_unpack(ffi.buffer(records)))

    def statistics(self) -> Statistics:
        """Counters and histograms since the start: hundreds of objects, not for what is asked every second."""
        return read_statistics(self._counters())

    def _counters(self) -> Any:
        """An `rf_statistics` as of now."""
        lib.rf_statistics_read(self._pointer, self._reading)
        return self._reading
