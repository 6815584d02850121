"""100,000 servers under `ulimit -n 4096`: how late the checks of the sound ones start, with and without silent ones.

HAProxy wants a descriptor for every check and will not start there; its words are shown. risefall lends a slot to
each check under way, and gives those whose last check timed out at most half of the slots. So silent servers make
each other late, and the sound ones not: the goal is a p99 under 20 ms, with 0 % and with 10 % of the servers silent.

    python bench/many_servers.py            a minute and a half for each share
    python bench/many_servers.py --quick    3,000 servers, `inter 2s`, 256 descriptors
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchlib import (
    BenchError,
    Checker,
    Responder,
    all_stats,
    config_text,
    haproxy_refusal,
    options_of,
    refuse,
    sizes_of,
)
from risefall.engine.play import SILENT, Act, Listener, http_reply

GOAL_MS = 20.0
SILENT_LISTENERS = 2
SOUND_LISTENERS = 16


class Sizes(msgspec.Struct, frozen=True):
    """servers: how many; inter_s: between checks of each; descriptors: the limit; rounds: of inter_s to watch."""

    servers: int = 100_000
    inter_s: int = 20
    descriptors: int = 4096
    rounds: int = 3


QUICK = Sizes(servers=3000, inter_s=2, descriptors=256, rounds=3)


class Lateness(msgspec.Struct, frozen=True):
    """What one run showed, after the first round of checks. late: from due to started, of checks whose last run did
    not time out; p99 is that of the worst span of five seconds.
    """

    silent_pct: int
    servers: int
    checks_per_s: float
    late_p99_ms: float
    late_max_ms: float
    suspects_p99_ms: float
    cpu_share: float
    responder_busy: float
    good: bool


def places(responder: Responder, silent_pct: int) -> list[tuple[str, int]]:
    """A hundred places to go round over, <silent_pct> of them silent ones."""
    silent, sound = responder.places[:SILENT_LISTENERS], responder.places[SILENT_LISTENERS:]
    found = [sound[i % len(sound)] for i in range(100)]
    for i in range(silent_pct):
        found[i * 100 // silent_pct] = silent[i % len(silent)]
    return found


def measure(responder: Responder, sizes: Sizes, silent_pct: int, cpu: int) -> Lateness:
    """Runs risefall for some rounds of checks and reads the lateness that it tells itself."""
    where = places(responder, silent_pct)

    def config(path: Path) -> str:
        return config_text(sizes.servers, where, f"check inter {sizes.inter_s}s", socket_path=path)

    options = ("--log", "none", "--json", "--stats", f"{min(5, sizes.inter_s)}s")
    with Checker("risefall", config, cpu, descriptors=sizes.descriptors, options=options) as checker:
        time.sleep(sizes.inter_s * 1.25)  # the first round finds out who is silent
        before = len(all_stats(checker.output))
        responder.busy()
        requests, cpu_s, start = responder.counts().requests, checker.cpu_s(), time.monotonic()
        time.sleep(sizes.inter_s * sizes.rounds)
        wall_s = time.monotonic() - start
        checks, used_s, busy = responder.counts().requests - requests, checker.cpu_s() - cpu_s, responder.busy().share
        stats = all_stats(checker.output)[before + 1 :]  # the span under way then had a part of the first round
        told = checker.output.read_text(errors="replace")[-2000:]
    if checks == 0 or not stats:
        raise BenchError(f"risefall made {checks} checks and told {len(stats)} statistics:\n{told}")
    worst_ms = max(one.late_p99_us for one in stats) / 1000
    return Lateness(
        silent_pct=silent_pct,
        servers=sizes.servers,
        checks_per_s=checks / wall_s,
        late_p99_ms=worst_ms,
        late_max_ms=max(one.late_max_us for one in stats) / 1000,
        suspects_p99_ms=max(one.late_suspect_p99_us for one in stats) / 1000,
        cpu_share=used_s / wall_s,
        responder_busy=busy,
        good=worst_ms < GOAL_MS,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """See the head of this file. Exit code: 0, 1 when the goal was missed, 3 when it could not measure."""
    parser = options_of(__doc__, Sizes())
    parser.add_argument("--silent", type=int, action="append", help="percent of silent servers; default 0 and 10")
    options = parser.parse_args(argv)
    sizes = sizes_of(options, Sizes(), QUICK)
    console, errors = Console(), Console(stderr=True)
    found: list[Lateness] = []
    try:
        with Responder(SILENT_LISTENERS + SOUND_LISTENERS, options.responder_cpu) as responder:
            refusal = haproxy_refusal(sizes.servers, responder.places, sizes.descriptors)
            errors.print(f"haproxy under ulimit -n {sizes.descriptors}: {refusal}", highlight=False, markup=False)
            responder.script(Act(http_reply(200, "OK")))
            for listener in range(SILENT_LISTENERS):
                responder.script(SILENT, listener=Listener(listener))
            found += [measure(responder, sizes, share, options.cpu) for share in options.silent or (0, 10)]
    except BenchError as error:
        return refuse(error)
    if options.json:
        sys.stdout.writelines(msgspec.json.encode(one).decode() + "\n" for one in found)
    else:
        table = Table("silent", "checks/s", "late p99", "late max", "late p99 of the silent", "CPU", "responder")
        for one in found:
            times = [f"{ms:.1f} ms" for ms in (one.late_p99_ms, one.late_max_ms, one.suspects_p99_ms)]
            shares = [f"{share:.0%}" for share in (one.cpu_share, one.responder_busy)]
            table.add_row(f"{one.silent_pct} %", f"{one.checks_per_s:,.0f}", *times, *shares)
        console.print(table)
    return 0 if all(one.good for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
