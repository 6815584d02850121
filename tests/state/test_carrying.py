"""What a server keeps of what it has become when the file is another one: each rule by itself, then all of them at random."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from state_kit import Below, Rig, agent_check, health_check

from risefall.config.haproxy.dialect import DIALECTS
from risefall.state.carrying import all_of, carry, carry_proxy, date, date_proxy, fit, unlink
from risefall.state.fleet import WARM, Fleet
from risefall.state.server import (
    AGENT,
    HEALTH,
    MAINT,
    Admin,
    CheckState,
    Moved,
    Op,
    Pins,
    ProxyState,
    ServerState,
    Watch,
)
from risefall.state.succession import succeed
from risefall.status import Status, Verdict

NOW_MS = 1_000_000
NO = Admin(0)
F, C, R, H, VIA, D = Admin.FMAINT, Admin.CMAINT, Admin.RMAINT, Admin.HMAINT, Admin.IMAINT, Admin.FDRAIN


def server(**more: object) -> ServerState:
    """One server as a file has it: a health check with rise 2 and fall 3, and no more."""
    fields: dict[str, object] = {
        "name": "s",
        "proxy": 0,
        "sid": 1,
        "address": "10.0.0.1",
        "port": 80,
        "fqdn": "",
        "op": Op.RUNNING,
        "admin": NO,
        "iweight": 10,
        "uweight": 10,
        "backup": False,
        "health": health_check(),
        "agent": None,
        "changed_ms": NOW_MS,
        **more,
    }
    return ServerState(**fields)  # type: ignore[arg-type]


def proxy(**more: object) -> ProxyState:
    fields: dict[str, object] = {"log_health_checks": True, "disabled": False, "static": False, **more}
    return ProxyState("b", "backend", 2, "http", "roundrobin", 0, 1, **fields)  # type: ignore[arg-type]


def counter(health: int, rise: int = 2, fall: int = 3, **more: object) -> CheckState:
    return CheckState(rise, fall, health, **more)  # type: ignore[arg-type]


def carried(old: ServerState, new: ServerState, *, follows: bool = False) -> ServerState:
    carry(old, new, follows=follows)
    return new


# --- administrative states ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "comes"),
    [
        (NO, NO, NO),
        (F, NO, F),  # a hand's maintenance stands
        (F | C, F | C, F | C),
        (C, F | C, C),  # a hand has ended the file's
        (F | C, NO, NO),  # the word has gone from the file
        (C, NO, NO),
        (NO, F | C, F | C),  # the word has come into the file
        (F, F | C, F | C),
        (D, NO, D),
        (D, F | C, D | F | C),
        (D | F, NO, D | F),
        (VIA, NO, NO),  # what is inherited comes again from whom it tracks
        (Admin.IDRAIN, NO, NO),
        (R, NO, NO),  # and what came of a name, where the name is looked up no more
        (H, NO, NO),
        (NO, R, R),
    ],
)
def test_administrative_states(old: Admin, new: Admin, comes: Admin) -> None:
    assert carried(server(admin=old), server(admin=new)).admin == comes


@pytest.mark.parametrize(
    ("before", "now", "drained"), [(10, 10, True), (10, 0, True), (0, 0, True), (0, 10, False), (5, 10, True)]
)
def test_a_drain_stands_unless_the_file_gave_the_server_weight(before: int, now: int, *, drained: bool) -> None:
    new = carried(server(admin=D, iweight=before, uweight=before), server(iweight=now, uweight=now))
    assert bool(new.admin & D) is drained


# --- where it is ------------------------------------------------------------------------------------------------


def test_the_address_of_the_file_counts() -> None:
    new = carried(server(), server(address="10.0.0.2", port=81, check_addr="10.0.0.3", check_port=8))
    assert (new.address, new.port, new.check_addr, new.check_port) == ("10.0.0.2", 81, "10.0.0.3", 8)


MOVES: list[tuple[Moved, dict[str, object]]] = [
    (Moved.ADDR, {"address": "10.9.9.9", "port": 99, "mapped_ports": True}),
    (Moved.CHECK, {"check_addr": "10.9.9.9", "check_port": 99}),
    (Moved.AGENT, {"agent_addr": "10.9.9.9", "agent_port": 99}),
]


@pytest.mark.parametrize(("moved", "fields"), MOVES)
def test_what_commands_have_changed_stands(moved: Moved, fields: dict[str, object]) -> None:
    file = server(address="10.0.0.2", pins=Pins(None, 7, 8))
    new = carried(server(moved=moved, **fields), msgspec.structs.replace(file))
    assert {name: getattr(new, name) for name in fields} == fields
    assert new.moved == moved
    everything = {name for _, each in MOVES for name in each}
    for name in everything - fields.keys():
        assert getattr(new, name) == getattr(file, name)
    assert new.pins.health_port == (0 if moved is Moved.CHECK else 7)
    assert new.pins.agent_port == (0 if moved is Moved.AGENT else 8)


def test_a_changed_address_waits_for_one_in_the_file() -> None:
    assert carried(server(moved=Moved.ADDR), server(address="", admin=R)).address == ""


@pytest.mark.parametrize(("ready", "now"), [(True, True), (False, False)])
def test_tls_stands_where_the_file_still_has_it(*, ready: bool, now: bool) -> None:
    assert carried(server(moved=Moved.SSL, ssl=True), server(ssl_ready=ready)).ssl is now


def test_what_a_name_has_come_to_stands() -> None:
    old = server(fqdn="a.test", address="10.0.0.7", port=80)
    new = carried(old, server(fqdn="a.test", address="10.0.0.1", port=81), follows=True)
    assert (new.address, new.port) == ("10.0.0.7", 81)
    lost = carried(server(fqdn="a.test", address="", admin=R), server(fqdn="a.test"), follows=True)
    assert (lost.address, lost.admin, lost.op) == ("", R, Op.STOPPED)
    back = carried(old, server(fqdn="a.test", address="", admin=R), follows=True)
    assert (back.address, back.admin) == ("10.0.0.7", NO)


def test_another_name_begins_anew() -> None:
    new = carried(server(fqdn="a.test", address="10.0.0.7"), server(fqdn="b.test", address="", admin=R), follows=True)
    assert (new.fqdn, new.address, new.admin) == ("b.test", "", R)


def test_what_an_srv_record_said_stands() -> None:
    old = server(fqdn="n1.test", address="10.0.0.7", port=8080, srv_record="_h._tcp.test", admin=H)
    new = carried(old, server(address="", port=0, srv_record="_h._tcp.test", admin=R), follows=True)
    assert (new.fqdn, new.address, new.port, new.admin) == ("n1.test", "10.0.0.7", 8080, H)
    other = carried(old, server(address="", port=0, srv_record="_x._tcp.test", admin=R), follows=True)
    assert (other.fqdn, other.address, other.port, other.admin) == ("", "", 0, R)


# --- counters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("health", "rise", "fall", "comes"),
    [
        (4, 2, 3, 4),
        (2, 2, 3, 2),
        (0, 2, 3, 0),
        (1, 2, 3, 1),
        (4, 2, 5, 6),  # full stays full
        (3, 2, 5, 3),
        (3, 4, 3, 5),  # one failure less than full: as many as `fall` leaves
        (2, 1, 1, 1),
        (3, 2, 1, 2),  # no room: full
        (1, 4, 3, 1),
        (1, 1, 3, 0),  # DOWN stays DOWN
    ],
)
def test_a_counter_keeps_its_side_and_its_place(health: int, rise: int, fall: int, comes: int) -> None:
    op = Op.RUNNING if health >= 2 else Op.STOPPED
    new = carried(server(health=counter(health), op=op), server(health=counter(rise, rise, fall)))
    assert new.health is not None
    assert new.health.health == comes
    assert new.op is op
    assert new.health.good is (op is Op.RUNNING)


def test_the_last_news_of_a_check_stand() -> None:
    old = counter(
        0, status=Status.L7STS, verdict=Verdict.FAILED, code=503, duration_ms=7, text=b"Busy", fails_before=-3,
        enabled=False, epoch=9,
    )  # fmt: skip
    new = carried(server(health=old, op=Op.STOPPED), server()).health
    assert new == old
    gone = carried(server(health=old, op=Op.STOPPED), server(health=None))
    assert (gone.health, gone.op) == (None, Op.RUNNING)
    assert carried(server(health=None), server()).health == health_check()


def test_from_maintenance_a_counter_comes_anew_but_an_agents_word_stands() -> None:
    old = server(admin=F | C, op=Op.STOPPED, health=counter(0, paused=True), agent=counter(0, 1, 1))
    new = carried(old, server(agent=agent_check()))
    assert new.health is not None
    assert new.agent is not None
    assert (new.health.health, new.health.paused) == (2, False)
    assert (new.agent.health, new.op) == (0, Op.STOPPED)


def test_a_check_switched_off_in_maintenance_stays_paused() -> None:
    def old() -> ServerState:
        return server(admin=F, op=Op.STOPPED, health=counter(0, enabled=False, paused=True))

    assert carried(old(), server()).health == counter(0, enabled=False, paused=True)
    gone = server(admin=F | C, op=Op.STOPPED, health=counter(0, enabled=False, paused=True))
    assert carried(gone, server()).health == counter(2, enabled=False)


# --- the operational state --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "comes"),
    [
        ({"op": Op.STOPPED, "health": 0}, {}, Op.STOPPED),
        ({"op": Op.STOPPING, "health": 4}, {}, Op.STOPPING),
        ({"op": Op.STARTING, "health": 4, "slowstart_ms": 9}, {"slowstart_ms": 9}, Op.STARTING),
        ({"op": Op.STARTING, "health": 4, "slowstart_ms": 9}, {}, Op.RUNNING),  # there is none any more
        ({"op": Op.STOPPED, "health": 4}, {}, Op.STOPPED),  # a hand, `observe` or an agent that is gone said so
        ({"op": Op.STOPPED, "health": 0}, {"health": None}, Op.RUNNING),  # no check any more
        ({"op": Op.STOPPED, "health": 0}, {"agent": 1}, Op.STOPPED),  # its health check still stands against it
        ({"op": Op.STOPPED, "health": 4, "agent": 0}, {}, Op.RUNNING),  # no agent any more
        ({"op": Op.STOPPED, "health": 0, "admin": F | C}, {}, Op.RUNNING),  # out of maintenance
        ({"op": Op.RUNNING, "health": 4}, {"admin": F | C}, Op.STOPPED),
        ({"op": Op.RUNNING, "health": 4}, {"health": None, "tracks": 0}, Op.RUNNING),
        ({"op": Op.STOPPED, "health": 0}, {"health": None, "tracks": 0}, Op.RUNNING),  # whom it tracks decides
        ({"op": Op.STOPPED, "health": None, "tracks": 0}, {}, Op.RUNNING),
        ({"op": Op.STOPPED, "health": None, "tracks": 0}, {"op": Op.STOPPED, "health": 1}, Op.STOPPED),  # init-state
        (
            {"op": Op.STOPPED, "health": None, "tracks": 0, "agent": 0},
            {"health": None, "tracks": 0, "agent": 1},
            Op.STOPPED,
        ),
        (
            {"op": Op.STARTING, "health": None, "tracks": 0, "slowstart_ms": 9},
            {"health": None, "tracks": 0},
            Op.RUNNING,
        ),
    ],
)
def test_operational_states(old: dict[str, object], new: dict[str, object], comes: Op) -> None:
    def made(fields: dict[str, object]) -> ServerState:
        told = dict(fields)
        health, agent = told.pop("health", 2), told.pop("agent", None)
        return server(
            health=None if health is None else counter(health),  # type: ignore[arg-type]
            agent=None if agent is None else counter(agent, 1, 1),  # type: ignore[arg-type]
            **told,
        )

    assert carried(made(old), made(new)).op is comes


# --- weights and figures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "comes"), [(10, 3), (20, 20)])
def test_a_weight_that_was_set_holds_while_the_files_is_the_same(now: int, comes: int) -> None:
    assert carried(server(uweight=3), server(iweight=now, uweight=now)).uweight == comes


def test_a_slowstart_goes_on_where_it_stands() -> None:
    slow = {"slowstart_ms": 10_000, "op": Op.STARTING}
    assert carried(server(**slow, warmth=7), server(slowstart_ms=10_000)).warmth == 7
    assert carried(server(**slow, warmth=7), server()).warmth == WARM


def test_figures_and_since_when() -> None:
    old = server(changed_ms=77, downs=3, down_ms=999, idle_health=1, watch=Watch(False, "", 10, 4, 2))
    new = carried(old, server(watch=Watch(True, "mark-down", 5)))
    assert (new.changed_ms, new.downs, new.down_ms, new.idle_health) == (77, 3, 999, 1)
    assert new.watch == Watch(True, "mark-down", 5, 4, 2)
    assert carried(old, server()).watch is None
    assert carried(server(), server(watch=Watch(True, "x", 5))).watch == Watch(True, "x", 5)


def test_a_proxys_figures() -> None:
    new = proxy()
    carry_proxy(proxy(changed_ms=5, down_ms=6, downs=7, front_paused=True, front_stopped=True), new)
    assert new == proxy(changed_ms=5, down_ms=6, downs=7, front_paused=True, front_stopped=True)


@pytest.mark.parametrize(
    ("fields", "changes", "weight"),
    [
        ({"uweight": 3}, True, 10),
        ({"uweight": 0}, False, 0),
        ({}, False, 10),
        ({"op": Op.STARTING, "warmth": 4}, True, 10),
        ({"admin": F, "op": Op.STOPPED, "held_weight": 3, "uweight": 0}, True, 0),
        ({"admin": F, "op": Op.STOPPED, "held_weight": 10, "uweight": 0}, False, 0),
    ],
)
def test_a_static_algorithm_takes_all_or_nothing(fields: dict[str, object], weight: int, *, changes: bool) -> None:
    one = server(**fields)
    assert fit(one, proxy(static=True)) is changes
    assert (one.uweight, one.warmth) == (weight, WARM)
    assert not fit(one, proxy(static=True))
    other = server(**fields)
    assert not fit(other, proxy())
    assert other == server(**fields)


@pytest.mark.parametrize(
    ("was_stopped", "op", "comes"),
    [
        (False, Op.RUNNING, (100, 50, 1)),
        (True, Op.STOPPED, (100, 50, 1)),
        (False, Op.STOPPED, (NOW_MS, 50, 2)),
        (True, Op.STARTING, (NOW_MS, 50 + NOW_MS - 100, 1)),
    ],
)
def test_who_goes_down_by_the_file_does_so_now(op: Op, comes: tuple[int, int, int], *, was_stopped: bool) -> None:
    one = server(op=op, changed_ms=100, down_ms=50, downs=1)
    date(one, NOW_MS, was_stopped=was_stopped)
    assert (one.changed_ms, one.down_ms, one.downs) == comes
    whole = proxy(changed_ms=100, down_ms=50, downs=1, active=int(op is not Op.STOPPED))
    date_proxy(whole, NOW_MS, was_down=was_stopped)
    assert (whole.changed_ms, whole.down_ms, whole.downs) == comes


def test_what_was_inherited_is_given_back() -> None:
    tracker = server(health=None, tracks=0, admin=VIA | D, op=Op.STOPPED)
    unlink(tracker)
    assert (tracker.admin, tracker.op) == (D, Op.RUNNING)
    said = server(health=None, tracks=0, op=Op.STOPPED, agent=counter(0, 1, 1))
    unlink(said)
    assert said.op is Op.STOPPED
    alone = server(op=Op.STOPPED, admin=D)
    unlink(alone)
    assert (alone.op, alone.admin) == (Op.STOPPED, D)


def test_all_that_c_must_know() -> None:
    fleet = Fleet(
        [proxy()], [server(health=counter(0), op=Op.STOPPED, agent=agent_check(), uweight=4)], DIALECTS["2.6"], 1
    )
    health, agent = all_of(fleet, 0, HEALTH), all_of(fleet, 0, AGENT)
    assert (health.epoch, health.health, health.paused, health.enabled) == (1, 0, False, True)
    assert (health.stopped, health.weight, health.state_text[:4]) == (True, 4, "DOWN")  # type: ignore[index]
    assert (agent.epoch, agent.health, agent.stopped, agent.weight, agent.state_text) == (1, 1, None, None, None)


# --- a weight that was held ---------------------------------------------------------------------------------------


def test_a_held_weight_goes_with_the_maintenance() -> None:
    """2.6 shows the weight of before until maintenance ends; here the file ends it."""
    rig = Rig().proxy("b").server("s", disabled=True, weight=10).server("t", track="s", weight=10).start()
    rig.cli("set weight b/s 3")
    rig.cli("set weight b/t 4")
    assert [one.held_weight for one in rig.servers] == [10, 10]
    kept = heir(rig, lambda: Rig().proxy("b").server("s", disabled=True, weight=10).server("t", track="s", weight=10))
    assert [one.held_weight for one in kept.servers] == [10, 10]
    kept = heir(rig, lambda: Rig().proxy("b").server("s", weight=10).server("t", track="s", weight=10))
    assert [one.held_weight for one in kept.servers] == [-1, -1]
    assert [kept.effective_weight(index) for index in range(2)] == [3, 4]


def heir(old: Rig, made: Callable[[], Rig], now_ms: int = NOW_MS) -> Fleet:
    """The fleet of a file in which every server is another one than before. The old one stays as it is."""
    rig = made()
    matched = [old.index.get(one.name, -1) for one in rig.servers]
    carry_proxy(old.proxies[0], rig.proxies[0])
    return succeed(old.fleet, rig.proxies, rig.servers, matched, lambda was, now: False, (), now_ms).fleet


# --- all of it at random ------------------------------------------------------------------------------------------


class File(msgspec.Struct, frozen=True):
    """What a file says of three servers, the last of which tracks the first."""

    static: bool
    disabled: tuple[bool, bool]
    weights: tuple[int, int, int]
    rise: int
    fall: int
    agent: bool
    slowstart_ms: int
    init_state: str

    def rig(self) -> Rig:
        rig = Rig("3").proxy("b", static=self.static)
        for name, disabled, weight in zip("ab", self.disabled, self.weights, strict=False):
            rig.server(
                name, disabled=disabled, weight=weight, rise=self.rise, fall=self.fall, agent=self.agent,
                slowstart_ms=self.slowstart_ms, init_state=self.init_state, backup=name == "b",
            )  # fmt: skip
        return rig.server("t", track="a", weight=self.weights[2], slowstart_ms=self.slowstart_ms)


weights = st.sampled_from([0, 1, 10])
files = st.builds(
    File,
    static=st.booleans(),
    disabled=st.tuples(st.booleans(), st.booleans()),
    weights=st.tuples(weights, weights, weights),
    rise=st.integers(1, 3),
    fall=st.integers(1, 3),
    agent=st.booleans(),
    slowstart_ms=st.sampled_from([0, 5000]),
    init_state=st.sampled_from(["", "fully-down", "up"]),
)
names = st.sampled_from(["a", "b", "t"])
deeds = st.one_of(
    st.tuples(st.just("check"), names, st.sampled_from([Status.L7OK, Status.L7STS, Status.L7OKC])),
    st.tuples(st.just("agent"), names, st.sampled_from(["up", "down", "50%", "drain", "maint", "ready"])),
    st.tuples(st.just("state"), names, st.sampled_from(["ready", "drain", "maint"])),
    st.tuples(st.just("weight"), names, st.sampled_from(["0", "4", "100%"])),
    st.tuples(st.just("health"), names, st.sampled_from(["up", "stopping", "down"])),
    st.tuples(st.sampled_from(["enable", "disable"]), names, st.just("health")),
    st.tuples(st.just("wait"), names, st.sampled_from([500, 3000])),
)


def do(rig: Rig, verb: str, name: str, word: object) -> None:
    match verb:
        case "check":
            rig.check(name, word)  # type: ignore[arg-type]
        case "agent":
            rig.agent(name, str(word))
        case "wait":
            rig.pass_time(word)  # type: ignore[arg-type]
        case "enable" | "disable":
            rig.cli(f"{verb} {word} b/{name}")
        case _:
            rig.cli(f"set server b/{name} {verb} {word}")


@given(before=files, after=files, done=st.lists(deeds, max_size=12))
def test_carried_twice_is_carried_once(before: File, after: File, done: list[tuple[str, str, object]]) -> None:
    """Whatever was done: the new fleet contradicts itself nowhere, and the same file once more changes nothing."""
    rig = before.rig().start()
    for deed in done:
        do(rig, *deed)
    rig.verify()
    once = after.rig()
    once.fleet = heir(rig, lambda: once)
    told(once).verify()
    twice = after.rig()
    twice.fleet = heir(once, lambda: twice)
    assert twice.servers == once.servers
    assert twice.proxies == once.proxies
    told(twice).verify()


@given(file=files, done=st.lists(deeds, max_size=12))
def test_the_same_file_changes_nothing(file: File, done: list[tuple[str, str, object]]) -> None:
    """But what begins anew in maintenance."""
    rig = file.rig().start()
    for deed in done:
        do(rig, *deed)
    again = file.rig()
    again.fleet = heir(rig, lambda: again)
    for old, new in zip(rig.servers, again.servers, strict=True):
        assert plain(new) == plain(old)
    assert [(p.active, p.active_weight, p.downs) for p in again.proxies] == [
        (p.active, p.active_weight, p.downs) for p in rig.proxies
    ]


def plain(one: ServerState) -> ServerState:
    """In maintenance counters begin anew, and a check that runs is paused: one that was switched on meanwhile ran."""
    if not one.admin & MAINT:
        return one
    health = one.health
    if health is not None:
        health = msgspec.structs.replace(health, health=0, paused=health.paused or health.enabled)
    return msgspec.structs.replace(one, idle_health=0, health=health)


def told(rig: Rig) -> Rig:
    """C knows what it must, as `all_of` tells it."""
    rig.below = {}
    for index, one in enumerate(rig.servers):
        for which, check in ((HEALTH, one.health), (AGENT, one.agent)):
            if check is None:
                continue
            below = rig.below[index, which] = Below(check, one)
            change = all_of(rig.fleet, index, which)
            check.epoch = below.epoch  # not another run's business
            for field in ("health", "paused", "enabled", "stopped", "state_text", "weight"):
                if (value := getattr(change, field)) is not None:
                    setattr(below, field, value)
    return rig
