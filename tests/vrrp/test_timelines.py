"""Every timeline that was observed with real keepalived (spec/keepalived-track.md §4.9), with its tolerance of 0.1 s.

The nodes start when those of the observation must have, told back from their first advert.
"""

from __future__ import annotations

import pytest
from vrrp_kit import Lab, chk, near, spec

from risefall.vrrp.actions import State
from risefall.vrrp.network import Network
from risefall.vrrp.settings import Auth, AuthType, Imitated

BACKUP, MASTER, FAULT = State.BACKUP, State.MASTER, State.FAULT


def part(network: Network) -> None:
    """n0 and n1 do not hear each other."""
    network.part("n0", "n1")


def test_a_weight_moves_the_master_and_back() -> None:
    """Row A."""
    lab = Lab().node(spec(0, 100), 0.27, [chk(-20)]).node(spec(1, 90), 0.3).passes("n0", 0.3)
    lab.fails("n0", 6.28).passes("n0", 14.3).run(20)
    assert next(at for at, priority in lab.sent("n0") if priority == 80) == near(6.88)
    assert lab.when("n1", MASTER) == near(9.53)
    assert lab.when("n0", BACKUP, 1) == near(9.53)
    assert lab.when("n0", MASTER, 10) == near(17.15)
    assert "(VI) Changing effective priority from 100 to 80" in lab.lines("n0")
    assert "(VI) received lower priority (80) advert from 10.77.0.1 - discarding" in lab.lines("n1")


def test_b_nopreempt_backups_accept_anything() -> None:
    """Row B."""
    lab = Lab().node(spec(0, 100, nopreempt=True), 0.1, [chk(-20)]).node(spec(1, 90, nopreempt=True), 0.1)
    lab.passes("n0", 0.15).fails("n0", 6.06).run(30)
    assert lab.states("n1") == [BACKUP]
    assert lab.sent("n0")[-1][1] == 80


def test_c_nopreempt_of_the_better_node() -> None:
    """Row C."""
    lab = Lab().node(spec(0, 100, nopreempt=True), 0.32).node(spec(1, 90), 0.262).run(20)
    assert lab.when("n1", MASTER) == near(3.91)
    assert lab.states("n0") == [BACKUP]


def test_d_a_fault_resigns_twice() -> None:
    """Row D."""
    lab = Lab().node(spec(0, 100), 0.1, [chk()]).node(spec(1, 90), 0.1).passes("n0", 0.12)
    lab.fails("n0", 6.09).passes("n0", 12.08).run(20)
    assert [at for at, priority in lab.sent("n0") if priority == 0] == [near(6.09)] * 2
    assert lab.when("n1", MASTER) == near(6.74)
    assert lab.when("n0", BACKUP, 7) == near(12.08)
    assert lab.when("n0", MASTER, 7) == near(15.69)


@pytest.mark.parametrize(("first", "second"), [("n0", "n1"), ("n1", "n0")])
def test_e_among_equals_the_first_to_time_out(first: str, second: str) -> None:
    """Row E: addresses do not matter."""
    starts = {first: 0.1, second: 0.15}
    lab = Lab().node(spec(0, 100), starts["n0"]).node(spec(1, 100), starts["n1"]).run(20)
    assert lab.states(first) == [BACKUP, MASTER]
    assert lab.states(second) == [BACKUP]


def test_f_preempt_delay() -> None:
    """Row F."""
    lab = Lab().node(spec(0, 100, preempt_delay_us=4_000_000), 0.1).node(spec(1, 90), 0.1)
    lab.at(6.0, lambda network: network.stop("n0")).at(9.0, lambda network: network.start("n0")).run(20)
    assert lab.when("n1", MASTER) == near(6.65)
    assert lab.when("n0", MASTER, 7) == near(16.28)


def test_g_version_3_scales_the_skew() -> None:
    """Row G."""
    lab = Lab().node(spec(0, 100, version=3, adv_us=200_000), 0.1, [chk()])
    lab.node(spec(1, 90, version=3, adv_us=200_000), 0.15).passes("n0", 0.12)
    lab.fails("n0", 4.28).passes("n0", 8.28).run(12)
    assert lab.when("n1", MASTER) == near(4.41)
    assert lab.when("n0", MASTER, 5) == near(9.01)


def test_h_everybody_starts_as_backup() -> None:
    """Row H; `state MASTER` leaves no trace in the settings."""
    lab = Lab().node(spec(0, 100), 0.06).node(spec(1, 90), 0.06).run(10)
    assert lab.states("n0") == [BACKUP, MASTER]
    assert lab.when("n0", MASTER) == near(3.67)
    assert lab.states("n1") == [BACKUP]


def test_i_version_3_learns_the_interval() -> None:
    """Row I."""
    lab = Lab().node(spec(0, 100, version=3, adv_us=500_000), 0.305).node(spec(1, 90, version=3), 0.1)
    lab.at(6.01, lambda network: network.link_down("n0")).run(12)
    assert lab.when("n1", MASTER) == near(7.44)


def test_j_a_master_that_never_speaks_again() -> None:
    """Row J: adverts that it refuses re-arm its timer."""
    lab = Lab().node(spec(0, 100), 0.03).node(spec(1, 90, adv_us=2_000_000), 0.07).run(40)
    assert lab.when("n0", MASTER) == near(3.64)
    assert lab.when("n1", MASTER) == near(6.72)
    assert len(lab.sent("n1")) == 1
    assert "(VI) advertisement interval mismatch mine=2 sec rcv'd=1 sec" in lab.lines("n1")


def test_k_nopreempt_on_both_after_a_fault() -> None:
    """Row K."""
    lab = Lab().node(spec(0, 100, nopreempt=True), 0.1, [chk()]).node(spec(1, 90, nopreempt=True), 0.1)
    lab.passes("n0", 0.12).fails("n0", 6.06).passes("n0", 12.07).run(30)
    assert lab.when("n1", MASTER) == near(6.71)
    assert lab.states("n0") == [BACKUP, MASTER, FAULT, BACKUP]


def test_l_an_owner_stops() -> None:
    """Row L."""
    lab = Lab().node(spec(0, 255), 0.09).node(spec(1, 100), 0.1).at(6.0, lambda network: network.stop("n0")).run(9)
    assert lab.when("n0", MASTER) == near(0.09)
    assert lab.when("n1", MASTER) == near(6.62)
    assert [priority for _, priority in lab.sent("n0")].count(0) == 1


def test_m_a_positive_weight() -> None:
    """Row M."""
    lab = Lab().node(spec(0, 100), 0.15, [chk(20)]).node(spec(1, 110), 0.15)
    lab.passes("n0", 0.16).fails("n0", 8.17).run(15)
    assert lab.when("n0", MASTER) == near(3.68)
    assert lab.when("n1", MASTER) == near(11.25)


def test_n_a_partition_heals_to_the_higher_address() -> None:
    """Row N."""
    lab = Lab().node(spec(0, 100), 0.2).node(spec(1, 100), 0.21)
    lab.at(0.3, part).at(7.0, lambda network: network.heal()).run(12)
    assert [lab.when(name, MASTER) for name in ("n0", "n1")] == [near(3.8)] * 2
    assert lab.when("n0", BACKUP, 4) == near(7.82)
    assert lab.network.masters() == ["n1"]


def test_o_no_answer_to_a_worse_advert() -> None:
    """Row O."""
    lab = Lab().node(spec(0, 100, lower_prio_no_advert=True), 0.2).node(spec(1, 90), 0.12)
    lab.at(0.3, part).at(7.0, lambda network: network.heal()).run(12)
    assert lab.when("n1", BACKUP, 4) == near(7.81)
    assert "(VI) Received advert from 10.77.0.2 with lower priority 90, ours 100" in lab.lines("n0")


@pytest.mark.parametrize(
    ("imitated", "start", "master_at"), [(Imitated.V2_2_7, 0.04, 11.69), (Imitated.HEAD, 0.09, 9.20)]
)
def test_q_startup_delay(imitated: Imitated, start: float, master_at: float) -> None:
    """Row Q: 2.2.7 hears adverts meanwhile and waits the longer."""
    lab = Lab().node(spec(0, 100, imitated=imitated), start, delay=5.5).node(spec(1, 90), 0.122).run(15)
    assert lab.when("n1", MASTER) == near(3.77)
    assert lab.when("n0", MASTER) == near(master_at)


def test_r_two_owners() -> None:
    """Row R: the first one hears the second, lowers itself for ever and yields."""
    lab = Lab().node(spec(0, 255), 0.19).node(spec(1, 255), 0.195).run(5)
    assert lab.when("n0", MASTER) == near(0.19)
    assert lab.when("n0", BACKUP, 0.19) == near(0.20)
    assert lab.network.nodes["n0"].ports["VI"].instance.base == 254
    assert lab.network.masters() == ["n1"]


def test_r_two_owners_of_head() -> None:
    """HEAD: the lower address yields."""
    lab = (
        Lab().node(spec(0, 255, imitated=Imitated.HEAD), 0.19).node(spec(1, 255, imitated=Imitated.HEAD), 0.195).run(5)
    )
    assert lab.network.masters() == ["n1"]
    assert lab.network.nodes["n0"].ports["VI"].instance.base == 255


def test_u_three_nodes() -> None:
    """Row U."""
    lab = Lab().node(spec(0, 120), 0.1, [chk()]).node(spec(1, 110), 0.1).node(spec(2, 100), 0.1)
    lab.passes("n0", 0.12).fails("n0", 6.09).run(12)
    assert lab.when("n1", MASTER) == near(6.68)
    assert lab.states("n2") == [BACKUP]


def test_v_dont_track_primary() -> None:
    """Row V: two masters until the link is back."""
    lab = Lab().node(spec(0, 100, dont_track_primary=True), 0.23).node(spec(1, 90), 0.25)
    lab.at(6.0, lambda network: network.link_down("n0")).at(11.0, lambda network: network.link_up("n0")).run(15)
    assert lab.states("n0") == [BACKUP, MASTER]
    assert lab.when("n1", MASTER) == near(9.49)
    assert lab.when("n1", BACKUP, 10) == near(11.51)


def test_x_down_timer_adverts() -> None:
    """Row X."""
    lab = Lab().node(spec(0, 100), 0.14).node(spec(1, 90, down_timer_adverts=1), 0.07).run(10)
    assert lab.when("n1", MASTER) == near(1.72)
    assert lab.when("n0", MASTER) == near(3.75)


@pytest.mark.parametrize(
    ("changes", "masters"),
    [
        ({"vips": ("10.77.0.101",)}, ["n0", "n1"]),
        ({"vips": ("10.77.0.101",), "imitated": Imitated.HEAD}, ["n0"]),
        ({"version": 3}, ["n0", "n1"]),
        ({"auth": Auth(kind=AuthType.PASS, key=b"other")}, ["n0", "n1"]),
    ],
)
def test_y_z_w_what_splits_the_brain(changes: dict[str, object], masters: list[str]) -> None:
    """Rows Y, Z and W: other addresses, another version, another password."""
    one = {key: value for key, value in changes.items() if key == "imitated"}
    if "auth" in changes:
        one["auth"] = Auth(kind=AuthType.PASS, key=b"secret")
    lab = Lab().node(spec(0, 100, **one), 0.1).node(spec(1, 90, **changes), 0.1).run(60)
    assert lab.network.masters() == masters


def test_db_the_backup_is_deaf() -> None:
    """Row DB: the real master answers each advert of the second one, which hears nothing."""
    lab = Lab().node(spec(0, 100), 0.11).node(spec(1, 90), 0.1)
    lab.at(6.0, lambda network: network.block("n0", "n1")).at(13.0, lambda network: network.heal()).run(20)
    assert lab.when("n1", MASTER) == near(9.37)
    assert lab.when("n1", BACKUP, 10) == near(13.37)
    assert lab.states("n0") == [BACKUP, MASTER]
    assert {priority for _, priority in lab.sent("n1")} == {90}


def test_da_the_master_is_deaf() -> None:
    """Row DA: nothing happens."""
    lab = Lab().node(spec(0, 100), 0.1).node(spec(1, 90), 0.1)
    lab.at(6.0, lambda network: network.block("n1", "n0")).at(12.0, lambda network: network.heal()).run(20)
    assert (lab.states("n0"), lab.states("n1")) == ([BACKUP, MASTER], [BACKUP])


def test_ow_an_owner_comes_back() -> None:
    """Row OW: at once at start, after a fault its own wait."""
    lab = Lab().node(spec(0, 255), 0.1, [chk()]).node(spec(1, 100), 0.1).passes("n0", 0.15)
    lab.fails("n0", 4.16).passes("n0", 8.16).run(15)
    assert lab.states("n0")[0] is MASTER
    assert lab.when("n0", MASTER) == near(0.15)
    assert lab.when("n1", MASTER) == near(4.78)
    assert lab.when("n0", BACKUP) == near(8.16)
    assert lab.when("n0", MASTER, 5) == near(11.17)


def test_pa_a_priority_change_throws_the_take_over_back() -> None:
    """Row PA: 9.35 without the change."""
    lab = Lab().node(spec(0, 100), 0.09, [chk(-20)]).node(spec(1, 90), 0.1, [chk(5)])
    lab.passes("n0", 0.12).fails("n1", 0.12).fails("n0", 6.1).passes("n1", 9.12).run(15)
    assert lab.when("n1", MASTER) == near(12.34)
    assert "(VI) Changing effective priority from 90 to 95" in lab.lines("n1")
