"""One vrrp_script: when a run starts and is killed, what its end counts as, and when the script turns up or down.

The counter is HAProxy's, with another start (rise - 1) and one rule of its own: the first result decides at once,
whatever rise and fall are. Two clocks run besides: a tick every `interval` from start to start, and a ladder of signals
for a run that takes longer than `timeout`. The result counts when the child is reaped, not when it is killed.

keepalived 2.2.7 starts a second run over one that still lives, although it logs "skipping run", and both share one
state: the end of either makes the script idle, and then nothing kills the other. HEAD skips.

Source: spec/keepalived-track.md §1.5-§1.8, vectors §1.10; `vrrp_script_thread` and `vrrp_script_child_thread` of 2.2.7.
"""

from __future__ import annotations

from enum import Enum, IntEnum

import msgspec

from risefall.vrrp.settings import US_PER_S, Imitated

TERM_TO_KILL_US = 2 * US_PER_S
KILL_TO_KILL_US = 2 * US_PER_S
AGAIN_US = 10 * US_PER_S
LATE_US = 50_000
"""Who is later than this counts from then on; less is the machine's matter, and must not turn the order of what is due together:
keepalived wakes late by less than a program takes to start."""
SIGKILL = 9
SIGTERM = 15


class ScriptSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """interval_us: start to start, at least 1. timeout_us: 0 stands for the interval. rise, fall: at least 1."""

    name: str
    interval_us: int = US_PER_S
    timeout_us: int = 0
    rise: int = 1
    fall: int = 1
    imitated: Imitated = Imitated.V2_2_7


class Init(Enum):
    """What is known of a script: nothing yet, nothing since a reload that changed it, or its own results."""

    INIT = "INIT"
    RELOAD = "INIT/RELOAD"
    DONE = "DONE"


class Stage(IntEnum):
    """Where the run stands; `Track script X is …` says two of them."""

    IDLE = 0
    RUNNING = 1
    TERMINATING = 2
    KILLING = 3


class Outcome(msgspec.Struct, frozen=True):
    """How a child ended: with a status, or by a signal. Exec failures arrive as status 0, as the child exits with it."""

    status: int | None = None
    signal: int | None = None


class Turn(Enum):
    """What a result did to the script."""

    NONE = "none"
    UP = "up"
    DOWN = "down"


class Start(msgspec.Struct, frozen=True):
    """Start a run now; answer with `reaped` or `lost` under this number."""

    run: int


class Kill(msgspec.Struct, frozen=True):
    """Send this signal to the process group of the run; answer with `lost` when nobody is there."""

    run: int
    signal: int


class Turned(msgspec.Struct, frozen=True):
    """The script is up or down from now on. first: nothing was known of it; reload: since a reload that changed it."""

    up: bool
    first: bool
    reload: bool


class Line(msgspec.Struct, frozen=True):
    """A line that keepalived logs."""

    text: str


Action = Start | Kill | Turned | Line


def counted(result: int, success: bool, rise: int, fall: int, init: Init) -> tuple[int, Turn]:
    """The table of §1.7: the counter after one result, and the turn.

    Args:
        result: 0..rise + fall - 1; good when it is `rise` or more.
    """
    full = rise + fall - 1
    if success:
        if result < rise - 1:
            return result + 1, Turn.NONE
        return full, Turn.UP if result < rise else Turn.NONE
    if result > rise:
        return result - 1, Turn.NONE
    return 0, Turn.DOWN if result == rise or init is not Init.DONE else Turn.NONE


class Script:
    """The machine of one script, shared by all instances that track it. Feed it times; do what it answers."""

    def __init__(self, settings: ScriptSettings) -> None:
        self.settings = settings
        self.result = settings.rise - 1
        self.init = Init.INIT
        self.stage = Stage.IDLE
        self.last_status = 0
        self.tick_us = 0
        """When the next run is due; a time in the past stands for at once."""
        self._runs = 0
        self._due: dict[int, int] = {}
        """The next rung of each run's ladder, in the order in which they were set."""
        self._pids: dict[int, int] = {}

    def carry(self, old: Script | None) -> None:
        """After a reload: begins with what was found before, up or down in full; None where nothing was known.

        2.2.7 goes by the name alone: another command or user of that name begins with the old result (spec §1.7 says otherwise).
        """
        if old is None:
            self.init = Init.RELOAD
            return
        self.result = self.settings.rise + self.settings.fall - 1 if old.good else 0
        self.init = Init.DONE
        self.last_status = old.last_status

    @property
    def good(self) -> bool:
        """GOOD in the dump: result has reached rise. Of a script still in INIT this says nothing."""
        return self.result >= self.settings.rise

    def next_us(self, *, room: bool = True) -> int | None:
        """When `time` wants to be called next; None: not before there is room for one more run."""
        if not self._due:
            return self.tick_us if room else None
        due_us = min(self._due.values())
        return min(self.tick_us, due_us) if room else due_us

    def time(self, now_us: int, *, room: bool = True) -> list[Action]:
        """Runs what is due: the tick, since keepalived looks at timers before children, then the ladders by their time.

        room: whether a run may start; without, the tick waits.
        """
        actions: list[Action] = []
        ladder = sorted((due_us, at, run) for at, (run, due_us) in enumerate(self._due.items()) if due_us <= now_us)
        if room and now_us >= self.tick_us:
            self._tick(now_us, actions)
        for _, _, run in ladder:
            self._overdue(run, now_us, actions)
        return actions

    def started(self, run: int, pid: int) -> None:
        """The number of its process, for the lines that name it."""
        self._pids[run] = pid

    def over(self, run: int) -> bool:
        """Whether nothing waits for this run any more, although its process may live (2.2.7, overlapping runs)."""
        return run not in self._due

    def _tick(self, now_us: int, actions: list[Action]) -> None:
        settings = self.settings
        now_us = _nominal(self.tick_us, now_us)
        self.tick_us = now_us + settings.interval_us
        if self.stage is not Stage.IDLE:
            what = "already running" if self.stage is Stage.RUNNING else "being timed out"
            actions.append(Line(f"Track script {settings.name} is {what}, expect idle - skipping run"))
            if settings.imitated is Imitated.HEAD:
                return
        self._runs += 1
        self.stage = Stage.RUNNING
        self._due[self._runs] = now_us + (settings.timeout_us or settings.interval_us)
        actions.append(Start(self._runs))

    def _overdue(self, run: int, now_us: int, actions: list[Action]) -> None:
        """One rung of the ladder; which one depends on the state that all runs share."""
        now_us = _nominal(self._due.pop(run), now_us)
        if self.stage is Stage.RUNNING:
            self.stage = Stage.TERMINATING
            self._due[run] = now_us + TERM_TO_KILL_US
            actions.append(Kill(run, SIGTERM))
        elif self.stage is Stage.TERMINATING:
            self.stage = Stage.KILLING
            self._due[run] = now_us + KILL_TO_KILL_US
            actions.append(Kill(run, SIGKILL))
        elif self.stage is Stage.KILLING:
            actions.append(
                Line(
                    f"Script {self.settings.name} child (PID {self._pids.get(run, run)}) failed to terminate after kill"
                )
            )
            self._due[run] = now_us + AGAIN_US
            actions.append(Kill(run, SIGKILL))
        # Else, in 2.2.7, the other run made the script idle; this one is neither killed nor waited for any more.

    def lost(self, run: int) -> list[Action]:
        """The group of this run was not there when it was to be killed: no result."""
        self._due.pop(run, None)
        self.stage = Stage.IDLE
        return [Line(f"Script {self.settings.name} child (PID {self._pids.pop(run, run)}) lost")]

    def reaped(self, run: int, outcome: Outcome) -> list[Action]:
        """The child of this run ended; the result counts now."""
        actions: list[Action] = []
        self._pids.pop(run, None)
        if run not in self._due:
            return actions
        del self._due[run]
        success, said = self._verdict(run, outcome, actions)
        self.result, turn = counted(self.result, success, self.settings.rise, self.settings.fall, self.init)
        if turn is not Turn.NONE:
            actions.append(Line(f"VRRP_Script({self.settings.name}) {said}"))
            actions.append(
                Turned(up=turn is Turn.UP, first=self.init is not Init.DONE, reload=self.init is Init.RELOAD)
            )
        self.stage = Stage.IDLE
        self.init = Init.DONE
        return actions

    def _verdict(self, run: int, outcome: Outcome, actions: list[Action]) -> tuple[bool, str]:
        """Success or not, and keepalived's words for it; adds what is said and done whatever the counter says."""
        if outcome.status is not None:
            if outcome.status != self.last_status:
                actions.append(Line(f"Script `{self.settings.name}` now returning {outcome.status}"))
            self.last_status = outcome.status
            if outcome.status == 0:
                return True, "succeeded"
            return False, f"failed (exited with status {outcome.status})"
        by_term = self.stage is Stage.TERMINATING and outcome.signal == SIGTERM
        if by_term:
            actions.append(Kill(run, SIGKILL))  # what the script has started must not outlive it
        if by_term or (self.stage is Stage.KILLING and outcome.signal in (SIGKILL, SIGTERM)):
            return False, "timed_out"
        return False, f"failed (due to signal {outcome.signal})"


def _nominal(due_us: int, now_us: int) -> int:
    """When something happens that was due then, and is looked at now."""
    return due_us if now_us - due_us <= LATE_US else now_us
