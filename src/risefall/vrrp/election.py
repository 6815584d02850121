"""One VRRP instance: adverts, deadlines, faults and priorities go in, actions come out. No clock, no socket.

A BACKUP waits for silence. An advert that it accepts starts the wait over; one that is worse than itself it discards and
lets the deadline run. So preemption is silence too, and costs up to one master-down time. Addresses are compared only
between two MASTERs. Two numbers hold the wait, as in keepalived: `deadline_us`, and `wait_us`, the length of the wait
that leads to it. A discarded packet sets `wait_us` to what is left; a change of the own priority moves the deadline by the
difference between the new full wait and `wait_us`. That is why a priority that changes while adverts are being
discarded throws the take-over back by nearly a full wait (spec §4.3 note 3).

Source: spec/keepalived-track.md §3, §4.2-§4.6; `vrrp.c`, `vrrp_scheduler.c`, `vrrp_track.c` of 2.2.7.
Differs: HEAD's owner that meets another owner does not lower itself to 254 after a while; the lower address yields.
    The learned interval is put back on becoming MASTER, as 2.2.7 does with -D (note 6).
"""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from risefall.vrrp.actions import (
    Action,
    Again,
    Delete,
    Enter,
    HeardLower,
    Log,
    Reprioritised,
    Send,
    State,
    Stop,
)
from risefall.vrrp.priority import effective_priority
from risefall.vrrp.settings import CONFIGURATION, OWNER, US_PER_CS, US_PER_S, Imitated, InstanceSettings

if TYPE_CHECKING:
    from risefall.vrrp.groups import Group

NEVER = 1 << 62
"""The deadline of who waits for nothing."""
OWNER_WAIT_US = 1


@cache
def address_bytes(address: str) -> bytes:
    """In network order, as keepalived compares them."""
    return ip_address(address).packed


def skew_us(version: int, priority: int, madv_us: int) -> int:
    """The part of the wait that lets a better node be first.

    Args:
        priority: the effective one, 1..255.
        madv_us: the master's interval; only version 3 scales with it.
    """
    if version == 3:
        return (256 - priority) * (madv_us // US_PER_CS) * 625 // 16
    return (256 - priority) * US_PER_S // 256


def master_down_us(settings: InstanceSettings, priority: int, madv_us: int) -> int:
    """How long a BACKUP waits for an advert."""
    return settings.down_timer_adverts * madv_us + skew_us(settings.version, priority, madv_us)


class Instance:
    """The election of one instance on one node. Times are microseconds; a call must not be earlier than the one before.

    Actions are appended to `out`, which the caller gave and empties; all instances of a node may share one.
    """

    __slots__ = (
        "_source",
        "base",
        "deadline_us",
        "effective",
        "faults",
        "group",
        "held_until_us",
        "madv_us",
        "master",
        "master_priority",
        "out",
        "pending",
        "preempt_at_us",
        "settings",
        "state",
        "told",
        "total",
        "wait_us",
        "want",
    )

    def __init__(self, settings: InstanceSettings, out: list[Action]) -> None:
        self.settings = settings
        self.out = out
        self._source = address_bytes(settings.source)
        self.group: Group | None = None
        self.base = settings.priority
        self.halt()

    def halt(self) -> None:
        """Gone without a word, as a host that dies; what `start` finds next is empty."""
        self.base = self.settings.priority
        self.total = self.effective = self.base
        self.state = State.INIT
        self.want = State.MASTER if self.settings.owner else State.BACKUP
        """What it would be but for its sync group."""
        self.faults: set[str] = {*self.settings.lasting}
        self.pending: set[str] = set()
        self.madv_us = self.settings.adv_us
        self.wait_us = 0
        self.deadline_us = NEVER
        self.held_until_us = 0
        self.preempt_at_us: int | None = None
        self.master = ""
        self.master_priority = 0
        self.told = False

    def start(self, now_us: int, *, delay_us: int = 0) -> None:
        """Comes up with the `faults`, the `pending` scripts and the total that the caller has set by now."""
        if delay_us:
            self.held_until_us = now_us + delay_us
        held = bool(self.pending) or (self.group is not None and self.group.pending())
        if self.faults or (self.group is not None and self.group.faulty()):
            self.want = State.FAULT if self.faults else self.want
            self.state = State.FAULT
            head = self.settings.imitated is Imitated.HEAD
            if CONFIGURATION not in self.faults or len(self.faults) > 1:  # of its configuration it has spoken before
                self._log("Entering FAULT STATE (init)" if head else "entering FAULT state")
            self._tell()
        elif held:
            self.state = State.FAULT  # as keepalived does inside; nothing is said or told of it
        elif self.settings.owner and (self.group is None or self.group.all_owners()):
            self.state = State.BACKUP
            self.wait_us = OWNER_WAIT_US
        else:
            self.state = State.BACKUP
            if self.settings.owner:
                self.wait_us = self.madv_us + skew_us(self.settings.version, OWNER, self.madv_us)
            else:
                self.wait_us = self._full_wait()
            self._log("Entering BACKUP STATE (init)")
            self._tell()
        self._arm(now_us)

    def resume(self, now_us: int, before: State, *, again: bool = False) -> None:
        """Goes on after a reload, with faults and total set as for `start`. before: its state till then, which is not told again.

        again: but to the FIFO, and by 2.2.7 only FAULT.
        """
        faulty = bool(self.faults) or (self.group is not None and self.group.faulty())
        if not faulty and before in (State.INIT, State.FAULT):
            self.start(now_us)
            return
        self.told = True
        if not faulty:
            self.state = self.want = before
            self.wait_us = self._full_wait()
        elif before is State.FAULT:
            self.state = State.FAULT
            if again:
                self.out.append(Again(self.settings.name, self.state, self.effective))
        else:
            self._log("entering FAULT state")
            self.state = State.FAULT
            self._tell()
        if self.faults:
            self.want = State.FAULT
        self._arm(now_us)

    def delete(self) -> None:
        """A reload has removed it; a MASTER resigns."""
        if self.state is State.MASTER:
            self._resign()
        self.out.append(Delete(self.settings.name, self.effective))
        self.halt()

    def stop(self, now_us: int) -> None:
        """keepalived ends; a MASTER resigns."""
        if self.state is State.MASTER:
            self._resign()
        self.out.append(Stop(self.settings.name, self.effective))
        self.halt()

    # What comes from the network.

    def advert(self, now_us: int, source: str, priority: int, adv_us: int) -> None:
        """An advert that passed the checks of `acceptance`. priority: 0..255; adv_us: the interval it carries."""
        if self.deaf(now_us):
            return
        before = self.state
        if before is State.BACKUP:
            self._advert_as_backup(now_us, source, priority, adv_us)
        elif self._advert_as_master(source, priority, adv_us):
            self.leave_master(now_us, State.BACKUP, resign=False)
        self._follow(before, now_us)
        if self.state is not State.MASTER or not self.settings.lower_prio_no_advert:
            self._arm(now_us)

    def refused(self, now_us: int, text: str = "") -> None:
        """A packet of this router id that a check dropped; text: what keepalived logs of it."""
        if self.deaf(now_us):
            return
        if text:
            self._log(text)
        if self.state is State.BACKUP:
            self._keep_deadline(now_us)
        if self.state is not State.MASTER or not self.settings.lower_prio_no_advert:
            self._arm(now_us)

    def deaf(self, now_us: int) -> bool:
        """Whether packets are ignored altogether: in FAULT and INIT, and in HEAD's start delay."""
        if self.state is State.FAULT or self.state is State.INIT:
            return True
        return self.settings.imitated is Imitated.HEAD and now_us < self.held_until_us

    def checks_vips(self, source: str) -> bool:
        """Whether the address list of an advert from here is looked at."""
        settings = self.settings
        return not (settings.skip_check_adv_addr and self.state is State.BACKUP and source == self.master)

    def _advert_as_backup(self, now_us: int, source: str, priority: int, adv_us: int) -> None:
        settings = self.settings
        if priority == 0:
            self._log("Backup received priority 0 advertisement", detail=True)
            self.wait_us = skew_us(settings.version, self.effective, self.madv_us)
        elif settings.nopreempt or priority >= self.effective or self._delays(now_us):
            self._learn(priority, adv_us)
            self.master = source
            if settings.preempt_delay_us:
                self._mark_preemption(now_us, priority)
            self.want = State.BACKUP
        else:
            self._log(f"received lower priority ({priority}) advert from {source} - discarding")
            self._keep_deadline(now_us)
            self.master = source

    def _delays(self, now_us: int) -> bool:
        """Whether preempt_delay holds back, or would start to."""
        if not self.settings.preempt_delay_us:
            return False
        return self.preempt_at_us is None or self.preempt_at_us > now_us

    def _mark_preemption(self, now_us: int, priority: int) -> None:
        if priority >= self.effective:
            if self.preempt_at_us is not None:
                self._log("stop preempt delay", detail=True)
            self.preempt_at_us = None
        elif self.preempt_at_us is None:
            delay_us = self.settings.preempt_delay_us
            self._log(f"start preempt delay ({delay_us // US_PER_S}.{delay_us % US_PER_S:06d})", detail=True)
            self.preempt_at_us = now_us + delay_us

    def _advert_as_master(self, source: str, priority: int, adv_us: int) -> bool:
        """Whether it is to yield."""
        settings = self.settings
        theirs = address_bytes(source)
        wins = priority > self.effective or (priority == self.effective and theirs > self._source)
        if priority == 0 or (settings.higher_prio_send_advert and wins):
            self._send(self.effective)
            if priority == 0:
                self._log("Master received priority 0 message", detail=True)
                return False
        if priority == self.effective:
            self._equal(theirs)
            wins = priority > self.effective or theirs > self._source
        if wins:
            self._log_better(source, priority)
            self._learn(priority, adv_us)
            return True
        if priority < self.effective or theirs < self._source:
            self._answer_worse(source, priority)
        return False

    def _equal(self, theirs: bytes) -> None:
        """A MASTER of the same priority: perhaps our own packet, perhaps a second owner."""
        if theirs == self._source:
            self._log("WARNING - equal priority advert received from remote host with our IP address.")
        elif self.effective == OWNER and self.settings.imitated is Imitated.V2_2_7:
            self._log(
                "CONFIGURATION ERROR: local instance and a remote instance are both configured as address owner,"
                " please fix - reducing local priority"
            )
            self.base = self.total = self.effective = OWNER - 1

    def _log_better(self, source: str, priority: int) -> None:
        if priority > self.effective:
            what = f"higher priority {priority}, ours {self.effective}"
        else:
            what = f"same priority {priority} but higher IP address than ours"
        self._log(f"Master received advert from {source} with {what}")

    def _answer_worse(self, source: str, priority: int) -> None:
        silent = self.settings.lower_prio_no_advert
        self._log(
            f"Received advert from {source} with lower priority {priority}, ours {self.effective}"
            + ("" if silent else ", forcing new election")
        )
        if not silent:
            self._send(self.effective)
        self.out.append(HeardLower(self.settings.name, self.effective))

    def _learn(self, priority: int, adv_us: int) -> None:
        """Takes the interval of a better or accepted master (version 3), and waits for it."""
        if self.settings.version == 3 and adv_us != self.madv_us:
            self._log(
                f"advertisement interval updated from {self.madv_us // 1000}ms to {adv_us // 1000}ms by master",
                detail=True,
            )
            self.madv_us = adv_us
        self.wait_us = self._full_wait()
        self.master_priority = priority

    # What comes from time.

    def time(self, now_us: int) -> None:
        """Acts if the deadline has come."""
        if now_us < self.deadline_us:
            return
        before = self.state
        if before is State.BACKUP:
            self._log("Receive advertisement timeout", detail=True)
            self.want = State.MASTER
            self.become_master(now_us)
        elif before is State.MASTER:
            self._send(self.effective)
        self._follow(before, now_us)
        self._arm(now_us)

    def become_master(self, now_us: int) -> None:
        """To MASTER, if the sync group allows; the advert leaves before the addresses are set."""
        if self.group is not None and not self.group.may_become_master(self, now_us):
            self.want = State.MASTER
            return
        self.state = State.MASTER
        self._arm(now_us)
        self._send(self.effective)
        self._log("Entering MASTER STATE")
        own_us = self.settings.adv_us
        if self.madv_us != own_us:
            was, now = self.madv_us // 1000, own_us // 1000
            self._log(f"changing advert interval from {was}ms to locally configured {now}ms", detail=True)
            self.madv_us = own_us
        self._tell()

    def leave_master(self, now_us: int, state: State, *, resign: bool) -> None:
        """From MASTER to BACKUP or FAULT. resign: its own fault, so that priority 0 is sent once more."""
        self.want = state
        self._log(f"Entering {state.name} STATE")
        if state is State.BACKUP:
            self.preempt_at_us = None
        else:
            self._send(0)
        if resign:
            self._resign()
        self.state = state
        self._tell()
        self.wait_us = self._full_wait()
        self._arm(now_us)

    def leave_fault(self, now_us: int, state: State) -> None:
        """From FAULT or BACKUP to BACKUP, FAULT, or (an owner at start) MASTER."""
        self.want = state
        if state is State.MASTER:
            self.become_master(now_us)
        else:
            if self.state is not state:
                self._log(f"Entering {state.name} STATE")
            self.state = state
            self._tell()
            if state is State.BACKUP:
                self.preempt_at_us = None
        self.madv_us = self.settings.adv_us
        self.wait_us = self._full_wait()
        self._arm(now_us)

    # What comes from trackers.

    def set_total(self, now_us: int, total: int) -> None:
        """The sum of base and trackers changed; at start too this is told. No packet leaves; the next advert carries it."""
        self.total = total
        new = effective_priority(self.base, total)
        if self.base == OWNER or new == self.effective:
            return
        self._log(f"Changing effective priority from {self.effective} to {new}")
        self.effective = new
        before_us, self.wait_us = self.wait_us, self._full_wait()
        if self.state is State.BACKUP:
            self.deadline_us += self.wait_us - before_us
        self.out.append(Reprioritised(self.settings.name, self.state, new))

    def restore_total(self, total: int) -> None:
        """As `set_total` for a file that is no fault by its weight any more: nothing is notified of it."""
        self.total = total
        new = effective_priority(self.base, total)
        if new != self.effective:
            self._log(f"Setting effective priority to {new}")
        self.effective = new

    def fault(self, now_us: int, reason: str) -> None:
        """A reason for FAULT; the first one acts."""
        if reason in self.faults:
            return
        self.pending.discard(reason)
        self.faults.add(reason)
        if len(self.faults) > 1 or self.state is State.INIT:
            return
        if self.state is State.MASTER:
            self.leave_master(now_us, State.FAULT, resign=True)
        else:
            self.leave_fault(now_us, State.FAULT)
        if self.group is not None:
            self.group.sync_fault(self, now_us)

    def clear(self, now_us: int, reason: str) -> None:
        """A reason is gone, or a pending script is well; the last one lets the instance come up."""
        first_result = reason in self.pending
        if not first_result and reason not in self.faults:
            return
        self.pending.discard(reason)
        self.faults.discard(reason)
        if self.faults or self.state is not State.FAULT:
            return
        if self.want is not State.MASTER or not self.settings.owner:
            self.want = State.BACKUP
        if self.pending or (self.group is not None and (self.group.pending() or self.group.faulty())):
            return
        self._come_up(now_us)

    def _come_up(self, now_us: int) -> None:
        want = self.want
        self.madv_us = self.settings.adv_us
        free = self.group is None or self.group.may_become_master(self, now_us)
        self.leave_fault(now_us, State.MASTER if want is State.MASTER and free else State.BACKUP)
        self.want = want
        if self.group is not None:
            if self.state is State.MASTER:
                self.group.sync_master(self, now_us)
            else:
                self.group.sync_backup(self, now_us)

    # Small parts.

    def rearm(self, now_us: int) -> None:
        """Waits in full again; for a sync group that is not ready."""
        self.wait_us = self._full_wait()
        self._arm(now_us)

    def _follow(self, before: State, now_us: int) -> None:
        """Takes the sync group along."""
        if self.group is None:
            return
        if self.state is State.MASTER:
            self.group.sync_master(self, now_us)
        elif before is State.MASTER:
            self.group.sync_backup(self, now_us)

    def _full_wait(self) -> int:
        return master_down_us(self.settings, self.effective, self.madv_us)

    def _keep_deadline(self, now_us: int) -> None:
        self.wait_us = max(self.deadline_us - now_us, 0)

    def _arm(self, now_us: int) -> None:
        if self.state is State.MASTER:
            self.deadline_us = now_us + self.settings.adv_us
        elif self.state is State.BACKUP:
            # 2.2.7 counts every wait from the end of the start delay; HEAD hears nothing before it.
            self.deadline_us = max(now_us, self.held_until_us) + self.wait_us
        else:
            self.deadline_us = NEVER

    def _send(self, priority: int) -> None:
        self.out.append(Send(self.settings.name, priority))

    def _resign(self) -> None:
        self._send(0)
        self._log("sent 0 priority", detail=True)

    def _tell(self) -> None:
        follows = self.told and self.group is not None and self.state is self.group.state
        self.told = True
        self.out.append(Enter(self.settings.name, self.state, self.effective, told=not follows))

    def _log(self, text: str, *, detail: bool = False) -> None:
        self.out.append(Log(f"({self.settings.name}) {text}", detail))
