"""What is called, in which order, with which arguments (spec/keepalived-track.md §6)."""

from __future__ import annotations

import pytest
from vrrp_kit import CHK, chk, spec, us

from risefall.vrrp.actions import Enter, EnterGroup, HeardLower, Reprioritised, State, Stop
from risefall.vrrp.network import Network
from risefall.vrrp.notify import FifoLine, Mail, Notifier, NotifyGlobals, NotifySettings, Run
from risefall.vrrp.trackers import DOWN, UP

ALL = NotifySettings(
    master=("/m",),
    backup=("/b",),
    fault=("/f",),
    stop=("/s",),
    deleted=("/d",),
    master_rx_lower_pri=("/l",),
    notify=("/n", "a b"),
    smtp_alert=True,
    priority_changes=True,
)
FULL = NotifyGlobals(router_id="r", fifo=True)


@pytest.mark.parametrize(
    ("state", "script", "subject"),
    [
        (State.MASTER, "/m", "Entering MASTER state"),
        (State.BACKUP, "/b", "Entering BACKUP state"),
        (State.FAULT, "/f", "Entering FAULT state"),
    ],
)
def test_a_state_is_told_in_this_order(state: State, script: str, subject: str) -> None:
    """Specific script without arguments, `notify` with four, FIFO, mail; the group likewise with priority 0."""
    calls = Notifier({"VI": ALL}, {"G": ALL}, FULL).calls([Enter("VI", state, 80), EnterGroup("G", state)])
    owning = "now" if state is State.MASTER else "no longer"
    assert calls == [
        Run((script,)),
        Run(("/n", "a b", "INSTANCE", "VI", state.name, "80")),
        FifoLine(f'INSTANCE "VI" {state.name} 80\n'),
        Mail(f"[r] VRRP Instance VI - {subject}", f"=> VRRP Instance is {owning} owning VRRP VIPs <="),
        Run((script,)),
        Run(("/n", "a b", "GROUP", "G", state.name, "0")),
        FifoLine(f'GROUP "G" {state.name} 0\n'),
        Mail(f"[r] VRRP Group G - {subject}", f"=> All VRRP group instances are now in {state.name} state <="),
    ]


def test_stop_and_removal() -> None:
    """STOP runs its script; an instance removed by a reload is DELETED, or FAULT without notify_deleted."""
    stopped = Notifier({"VI": ALL}, told=FULL).calls([Stop("VI", 100)])
    assert stopped[:3] == [
        Run(("/s",)),
        Run(("/n", "a b", "INSTANCE", "VI", "STOP", "100")),
        FifoLine('INSTANCE "VI" STOP 100\n'),
    ]
    assert Notifier({"VI": ALL}).deleted("VI", 9)[0] == Run(("/d",))
    plain = NotifySettings(fault=("/f",), notify=("/n",))
    assert Notifier({"VI": plain}).deleted("VI", 9) == [Run(("/n", "INSTANCE", "VI", "FAULT", "9"))]


def test_what_calls_no_state_script() -> None:
    """A worse advert runs its own script; a priority change goes to the FIFO only, and only when asked."""
    notifier = Notifier({"VI": ALL, "QUIET": NotifySettings()}, told=FULL)
    assert notifier.calls([HeardLower("VI", 100)]) == [
        Run(("/l",)),
        FifoLine('INSTANCE "VI" MASTER_RX_LOWER_PRI 100\n'),
    ]
    assert notifier.calls([Reprioritised("VI", State.MASTER, 80)]) == [FifoLine('INSTANCE "VI" MASTER_PRIORITY 80\n')]
    assert notifier.calls([Reprioritised("VI", State.FAULT, 80)]) == [FifoLine('INSTANCE "VI" BACKUP_PRIORITY 80\n')]
    assert notifier.calls([Reprioritised("QUIET", State.MASTER, 80)]) == []
    assert notifier.calls([Enter("VI", State.MASTER, 1, told=False)]) == []


def test_mail_is_sent_once_a_state() -> None:
    """And not for FAULT with no_email_faults; scripts run all the same."""
    mails = NotifySettings(smtp_alert=True, fault=("/f",))
    notifier = Notifier({"VI": mails}, told=NotifyGlobals(no_email_faults=True))
    actions = [Enter("VI", state, 1) for state in (State.MASTER, State.FAULT, State.MASTER, State.BACKUP)]
    kinds = [type(call) for call in notifier.calls(actions)]
    assert kinds == [Mail, Run, Mail]


def test_calls_along_a_life() -> None:
    """Start, gated by a script that fails: only FAULT is told. Then recovery, MASTER, stop."""
    network = Network()
    network.add_node("n0", [spec(0, 100)], tracked={"VI": [chk()]})
    network.start("n0")
    network.at(us(0.1), lambda: network.read("n0", CHK, DOWN))
    network.at(us(2.1), lambda: network.read("n0", CHK, UP))
    network.at(us(9), lambda: network.stop("n0"))
    network.run(us(10))
    notifier = Notifier({"VI": NotifySettings(notify=("/n",))})
    calls = notifier.calls(one.action for one in network.happened)
    told = [call.argv[3] for call in calls if isinstance(call, Run)]
    assert told == ["FAULT", "BACKUP", "MASTER", "STOP"]
