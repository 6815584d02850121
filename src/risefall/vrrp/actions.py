"""What the election wants done: packets to send, states entered, lines logged. The caller acts, in this order.

Source: spec/keepalived-track.md §4.3, §6.2, §8.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec


class State(IntEnum):
    """The number is that of keepalived's JSON."""

    INIT = 0
    BACKUP = 1
    MASTER = 2
    FAULT = 3


class Send(msgspec.Struct, frozen=True, gc=False):
    """One advert to the group or to every peer. priority: 0 resigns."""

    instance: str
    priority: int


class Enter(msgspec.Struct, frozen=True, gc=False):
    """The state of an instance from now on; MASTER has the addresses.

    told: notifies are due. Not for members that follow a group already reported in that state.
    """

    instance: str
    state: State
    priority: int
    told: bool = True


class EnterGroup(msgspec.Struct, frozen=True, gc=False):
    """The state of a sync group from now on."""

    group: str
    state: State


class Stop(msgspec.Struct, frozen=True, gc=False):
    """keepalived ends: the STOP notifies are due. is_group tells whose name it is."""

    name: str
    priority: int
    is_group: bool = False


class Again(msgspec.Struct, frozen=True, gc=False):
    """A state that stood through a reload and is said again, to the FIFO only. priority: 0 of a group."""

    name: str
    state: State
    priority: int
    is_group: bool = False


class Delete(msgspec.Struct, frozen=True, gc=False):
    """A reload has removed this instance: the DELETED notifies are due."""

    instance: str
    priority: int


class HeardLower(msgspec.Struct, frozen=True, gc=False):
    """A MASTER heard a worse advert: notify_master_rx_lower_pri is due, and gratuitous ARPs."""

    instance: str
    priority: int


class Reprioritised(msgspec.Struct, frozen=True, gc=False):
    """The effective priority changed; priority is the new one."""

    instance: str
    state: State
    priority: int


class Log(msgspec.Struct, frozen=True, gc=False):
    """A line keepalived logs. detail: only with -D."""

    text: str
    detail: bool = False


Action = Send | Enter | EnterGroup | Stop | Delete | Again | HeardLower | Reprioritised | Log
