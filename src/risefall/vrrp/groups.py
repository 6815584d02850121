"""A sync group: all of its instances are MASTER, or none is.

A member whose wait is over may become MASTER only when all other members want it too; else it waits in full again, and
its wish is remembered until it accepts an advert. So a group takes over when its slowest member has timed out.

Source: spec/keepalived-track.md §5.2; `vrrp_sync.c` of 2.2.7.
"""

from __future__ import annotations

from risefall.vrrp.actions import Action, Again, EnterGroup, Log, State, Stop
from risefall.vrrp.election import Instance


class Group:
    """One sync group on one node; `out` is that of its instances."""

    def __init__(self, name: str, members: list[Instance], out: list[Action]) -> None:
        """members: in the order of the config, each in no other group. Call `start` once their faults are known."""
        if not members:
            raise ValueError(f"sync group {name} has no member")
        self.name = name
        self.members = members
        self.out = out
        self.state = State.BACKUP
        for member in members:
            if member.group is not None:
                raise ValueError(f"{member.settings.name} is in two sync groups")
            member.group = self

    def start(self) -> None:
        """The state before the members start; only one that is known already is told."""
        self.state = State.MASTER if self.all_owners() else State.BACKUP
        if self.pending():
            self.state = State.INIT
        if self.faulty():
            self.state = State.FAULT
        if self.state in (State.FAULT, State.BACKUP):
            self.out.append(EnterGroup(self.name, self.state))

    def resume(self, before: State, members: list[State], *, again: bool = False) -> None:
        """As `start`, after a reload. before: the group's state till then, INIT where it is new; members: those of its members.

        again: the FIFO is told the state that stands.
        """
        self.state = State.BACKUP
        if self.faulty():
            self.state = State.FAULT
        elif all(one is State.MASTER for one in members):
            self.state = State.MASTER
        if self.state is not before and before is not State.INIT:
            self.out.append(EnterGroup(self.name, self.state))
        elif again and before is not State.INIT:
            self.out.append(Again(self.name, self.state, 0, is_group=True))

    def stop(self) -> None:
        """The members have stopped."""
        self.out.append(Stop(self.name, 0, is_group=True))
        self.state = State.INIT

    def pending(self) -> bool:
        """Whether a member waits for the first result of a script without weight."""
        return any(one.pending for one in self.members)

    def faulty(self) -> bool:
        """Whether a member has a fault of its own."""
        return any(one.faults for one in self.members)

    def all_owners(self) -> bool:
        """Whether all may be MASTER at once."""
        return all(one.settings.owner for one in self.members)

    def may_become_master(self, asking: Instance, now_us: int) -> bool:
        """Whether this member may; if not, it waits in full again."""
        if self.state is State.MASTER:
            return True
        if all(one is asking or one.want is State.MASTER for one in self.members):
            return True
        asking.rearm(now_us)
        return False

    def sync_master(self, first: Instance, now_us: int) -> None:
        """A member has become MASTER: so do the others."""
        if self.state is State.MASTER or not self.may_become_master(first, now_us):
            return
        self._say("MASTER")
        for member in self.members:
            if member is not first and member.state is not State.MASTER:
                member.want = State.MASTER
                member.become_master(now_us)
        self._enter(State.MASTER)

    def sync_backup(self, first: Instance, now_us: int) -> None:
        """A member yielded, or the last fault is gone: nobody is MASTER, nobody resigns."""
        if self.state is State.BACKUP:
            return
        self._say("BACKUP")
        for member in self.members:
            if member is first or member.state is State.BACKUP:
                continue
            if member.state is State.MASTER:
                member.leave_master(now_us, State.BACKUP, resign=False)
            else:
                member.leave_fault(now_us + 1, State.BACKUP)  # armed after the first, so it times out after it
        self._enter(State.BACKUP)

    def sync_fault(self, first: Instance, now_us: int) -> None:
        """A member is at fault: all are; those that were MASTER resign once."""
        if self.state is State.FAULT:
            return
        self._say("FAULT")
        for member in self.members:
            if member is first or member.state is State.FAULT:
                continue
            if member.state is State.MASTER:
                member.leave_master(now_us, State.FAULT, resign=False)
            else:
                member.state = State.FAULT  # so that no line is logged, as in keepalived
                member.leave_fault(now_us, State.FAULT)
        self._enter(State.FAULT)

    def _enter(self, state: State) -> None:
        self.state = state
        self.out.append(EnterGroup(self.name, state))

    def _say(self, state: str) -> None:
        self.out.append(Log(f"VRRP_Group({self.name}) Syncing instances to {state} state"))
