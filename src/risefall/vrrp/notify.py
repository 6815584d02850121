"""Which calls follow an action of the election, in keepalived's order: specific script, `notify`, FIFO, mail.

Only says what would be called; a caller that was asked to runs it, without waiting for its end.
Source: spec/keepalived-track.md §6; `vrrp_notify.c` of 2.2.7. Every row of §6.3: tests/vrrp/test_vrrp_notify.py.
Differs: SNMP traps and D-Bus signals are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from risefall.vrrp.actions import Action, Again, Delete, Enter, EnterGroup, HeardLower, Reprioritised, State, Stop
from risefall.vrrp.fifo import MASTER_RX_LOWER_PRI, PRIORITY, render_fifo

Command = tuple[str, ...]


class NotifySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one instance or one sync group asks for. Commands are argv, already split; empty for none."""

    master: Command = ()
    backup: Command = ()
    fault: Command = ()
    stop: Command = ()
    deleted: Command | None = None
    """None without the keyword: then FAULT is notified in its place."""
    master_rx_lower_pri: Command = ()
    notify: Command = ()
    smtp_alert: bool = False
    priority_changes: bool = False


class NotifyGlobals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """fifo: whether there is one to write to. router_id: stands in subjects."""

    router_id: str = ""
    fifo: bool = False
    no_email_faults: bool = False


class Run(msgspec.Struct, frozen=True):
    """Start this program; its exit code is ignored."""

    argv: Command


class FifoLine(msgspec.Struct, frozen=True):
    """Write this to the FIFO; lost when the pipe is full."""

    text: str


class Mail(msgspec.Struct, frozen=True):
    """Send this to all of notification_email."""

    subject: str
    body: str


Call = Run | FifoLine | Mail

STOP, DELETED = "STOP", "DELETED"
_MAILED = {
    State.MASTER.name: "=> VRRP Instance is now owning VRRP VIPs <=",
    State.BACKUP.name: "=> VRRP Instance is no longer owning VRRP VIPs <=",
    State.FAULT.name: "=> VRRP Instance is no longer owning VRRP VIPs <=",
    STOP: "=> VRRP Instance stopping <=",
    DELETED: "=> VRRP Instance is no longer owning VRRP VIPs <=",
}


class Notifier:
    """The notifications of one node. It remembers the last mailed state of each object."""

    def __init__(
        self,
        instances: Mapping[str, NotifySettings],
        groups: Mapping[str, NotifySettings] | None = None,
        told: NotifyGlobals | None = None,
    ) -> None:
        self._of = {(False, name): one for name, one in instances.items()}
        self._of |= {(True, name): one for name, one in (groups or {}).items()}
        self._globals = told or NotifyGlobals()
        self._mailed: dict[tuple[bool, str], str] = {}

    def calls(self, actions: Iterable[Action]) -> list[Call]:
        """All that follows these actions, in order."""
        return [call for action in actions for call in self._calls(action)]

    def remember(self, old: Notifier) -> None:
        """What was mailed last goes on to count after a reload, and who is no more is told of as it wished."""
        self._mailed = old._mailed
        self._of = old._of | self._of

    def deleted(self, name: str, priority: int) -> list[Call]:
        """A reload removed this instance. Without notify_deleted 2.2.7 tells of FAULT, but does not run notify_fault."""
        settings = self._of.get((False, name), NotifySettings())
        if settings.deleted is not None:
            return self._state_calls(name, DELETED, priority)
        return self._state_calls(name, State.FAULT.name, priority)[1 if settings.fault else 0 :]

    def _calls(self, action: Action) -> list[Call]:
        if isinstance(action, Enter):
            return self._state_calls(action.instance, action.state.name, action.priority) if action.told else []
        if isinstance(action, EnterGroup):
            return self._state_calls(action.group, action.state.name, 0, is_group=True)
        if isinstance(action, Again):
            return self._fifo(
                "GROUP" if action.is_group else "INSTANCE", action.name, action.state.name, action.priority
            )
        if isinstance(action, Delete):
            return self.deleted(action.instance, action.priority)
        if isinstance(action, Stop):
            return self._state_calls(action.name, STOP, action.priority, is_group=action.is_group)
        if isinstance(action, HeardLower):
            script = self._of.get((False, action.instance), NotifySettings()).master_rx_lower_pri
            return [*_run(script), *self._fifo("INSTANCE", action.instance, MASTER_RX_LOWER_PRI, action.priority)]
        if isinstance(action, Reprioritised):
            return self._priority_calls(action)
        return []

    def _state_calls(self, name: str, state: str, priority: int, *, is_group: bool = False) -> list[Call]:
        settings = self._of.get((is_group, name), NotifySettings())
        what = "GROUP" if is_group else "INSTANCE"
        generic = (*settings.notify, what, name, state, str(priority)) if settings.notify else ()
        return [
            *_run(_specific(settings, state)),
            *_run(generic),
            *self._fifo(what, name, state, priority),
            *self._mail(settings, name, state, is_group=is_group),
        ]

    def _priority_calls(self, action: Reprioritised) -> list[Call]:
        """Only the FIFO is told, and only with notify_priority_changes."""
        if not self._of.get((False, action.instance), NotifySettings()).priority_changes:
            return []
        state = State.MASTER if action.state is State.MASTER else State.BACKUP
        return self._fifo("INSTANCE", action.instance, f"{state.name}{PRIORITY}", action.priority)

    def _fifo(self, kind: str, name: str, event: str, priority: int) -> list[Call]:
        return [FifoLine(render_fifo(kind, name, event, priority))] if self._globals.fifo else []

    def _mail(self, settings: NotifySettings, name: str, state: str, *, is_group: bool) -> list[Call]:
        if not settings.smtp_alert or (state == State.FAULT.name and self._globals.no_email_faults):
            return []
        if self._mailed.get((is_group, name)) == state:
            return []
        self._mailed[is_group, name] = state
        verb = {STOP: "Stopping", DELETED: "Deleted"}.get(state, f"Entering {state} state")
        what = "Group" if is_group else "Instance"
        body = f"=> All VRRP group instances are now in {state} state <=" if is_group else _MAILED[state]
        return [Mail(subject=f"[{self._globals.router_id}] VRRP {what} {name} - {verb}", body=body)]


def _specific(settings: NotifySettings, state: str) -> Command:
    return {
        State.MASTER.name: settings.master,
        State.BACKUP.name: settings.backup,
        State.FAULT.name: settings.fault,
        STOP: settings.stop,
        DELETED: settings.deleted or (),
    }[state]


def _run(argv: Command) -> list[Call]:
    return [Run(argv)] if argv else []
