"""One check through a full probe, over what the computed network does with it: what `native/sim.c` does in one comparison."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from risefall.engine import native
from risefall.engine.native import Probe, ProbeResult
from risefall.engine.simulated import End, Wired

MS = 1_000_000
STEPS_MAX = 200


def drive(probe: Probe, start_ns: int, wire: Wired, pieces: Sequence[bytes] = ()) -> tuple[int, ProbeResult]:
    """What comes, or its deadline, whichever is first; timers are whole milliseconds, as in the engine.

    pieces: what a peer that answers says, one to each read, then FIN. A process that is not started is one that failed.
    Returns: when the check was over, and its result.
    """
    left = list(pieces)
    probe.start(start_ns)
    now_ns, up = start_ns, False
    for _ in range(STEPS_MAX):
        want = probe.want()
        if want.kind == native.DONE:
            return now_ns, probe.result()
        if want.kind == native.SEND:
            probe.sent(len(want.out), now_ns)
            continue
        timer_ns = -(-want.deadline_ns // MS) * MS
        process, connects = want.kind == native.PROCESS, want.kind == native.CONNECT
        if connects and up:
            comes_ns = now_ns  # a second connection stands at once
        else:
            comes_ns = wire.connect_ns if connects or (process and wire.refused) else wire.reply_ns
        if comes_ns > timer_ns:
            now_ns = timer_ns
            probe.time(timer_ns)
            continue
        now_ns = comes_ns
        if process:
            probe.exited(0 if wire.reply is End.GOOD and not wire.refused else 1, now_ns)
        elif connects and wire.refused:
            probe.failed(native.AT_CONNECT, errno.ECONNREFUSED, now_ns)
        elif connects:
            up = True
            probe.connected(now_ns)
        elif wire.reply is End.RESET:
            probe.failed(native.AT_STREAM, errno.ECONNRESET, now_ns)
        else:
            data = left.pop(0) if left else b""
            if len(data) > want.room:
                left.insert(0, data[want.room :])
            probe.received(data[: want.room], now_ns)
    raise AssertionError("the probe did not end")
