"""What keepalived makes of the words of an instance (spec/keepalived-track.md §3.1, §4.1, §4.8)."""

from __future__ import annotations

import msgspec
import pytest

from risefall.vrrp.settings import Auth, AuthType, InstanceSettings, Wish, settled

PLAIN = Wish(name="VI", source="10.77.0.1", vrid=51)
PASS = Auth(kind=AuthType.PASS, key=b"0123456789")


@pytest.mark.parametrize(
    ("changes", "expected", "lines"),
    [
        ({}, {"priority": 100, "adv_us": 1_000_000, "down_timer_adverts": 3, "lower_prio_no_advert": False}, 0),
        ({"priority": 0}, {"priority": 100}, 1),
        ({"priority": 256}, {"priority": 100}, 1),
        ({"priority": 255}, {"priority": 255}, 0),
        ({"state_master": True}, {"priority": 255}, 0),
        ({"state_master": True, "priority": 90}, {"priority": 90}, 0),
        ({"adv_s": 0.2}, {"adv_us": 1_000_000}, 1),
        ({"adv_s": 1.5}, {"adv_us": 2_000_000}, 1),
        ({"adv_s": 300}, {"adv_us": 255_000_000}, 1),
        ({"adv_s": 0.2, "version": 3}, {"adv_us": 200_000}, 0),
        ({"adv_s": 60, "version": 3}, {"adv_us": 40_950_000}, 1),
        ({"source": "fe80::1"}, {"version": 3}, 0),
        ({"nopreempt": True}, {"nopreempt": True}, 0),
        ({"nopreempt": True, "state_master": True, "priority": 90}, {"nopreempt": False}, 1),
        ({"nopreempt": True, "priority": 255}, {"nopreempt": False}, 1),
        ({"preempt_delay_s": 4}, {"preempt_delay_us": 4_000_000}, 0),
        ({"preempt_delay_s": 1001}, {"preempt_delay_us": 0}, 1),
        ({"preempt_delay_s": 4, "nopreempt": True}, {"preempt_delay_us": 0}, 1),
        ({"preempt_delay_s": 4, "strict": True}, {"preempt_delay_us": 0}, 1),
        ({"preempt_delay_s": 4, "state_master": True, "priority": 90}, {"preempt_delay_us": 0}, 1),
        ({"down_timer_adverts": 100}, {"down_timer_adverts": 100}, 0),
        ({"down_timer_adverts": 101}, {"down_timer_adverts": 3}, 1),
        ({"down_timer_adverts": 5, "strict": True}, {"down_timer_adverts": 3}, 1),
        ({"strict": True, "higher_prio_send_advert": True}, {"higher_prio_send_advert": False}, 0),
        ({"strict": True}, {"lower_prio_no_advert": True}, 0),
        ({"owner_ignore_adverts": True}, {"owner_ignore_adverts": False}, 0),
        ({"priority": 255, "strict": True}, {"owner_ignore_adverts": True}, 0),
        ({"auth": PASS}, {"auth": Auth(kind=AuthType.PASS, key=b"01234567")}, 1),
        ({"auth": PASS, "version": 3}, {"auth": Auth()}, 1),
        ({"auth": PASS, "strict": True}, {"auth": Auth()}, 1),
        ({"auth": Auth(kind=AuthType.AH)}, {"auth": Auth()}, 1),
    ],
)
def test_bounds_and_exclusions(changes: dict[str, object], expected: dict[str, object], lines: int) -> None:
    """Each row of §4.1 that the election depends on, and whether something is said about it."""
    made = settled(msgspec.structs.replace(PLAIN, **changes))
    assert {name: getattr(made.settings, name) for name in expected} == expected
    assert len(made.said) == lines


@pytest.mark.parametrize("vrid", [0, 256])
def test_a_router_id_is_required(vrid: int) -> None:
    """keepalived does not run without."""
    with pytest.raises(ValueError, match="virtual_router_id"):
        settled(msgspec.structs.replace(PLAIN, vrid=vrid))


def test_settings_take_no_unknown_word() -> None:
    """They are read from files one day."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "VI", "source": "10.77.0.1", "priorty": 5}, InstanceSettings)
