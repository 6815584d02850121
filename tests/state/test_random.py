"""Whatever befalls a fleet, in whatever order: its books are right, C knows what it must, and nothing raises."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from state_kit import Rig

from risefall.state.exchange import AdminWord, CheckResult, WeightKind
from risefall.state.fleet import Effects
from risefall.state.server import AGENT, HEALTH
from risefall.state.words import state_text
from risefall.status import Status, Verdict

NAMES = ("s1", "s2", "bk", "t1", "t2", "un", "ag", "off")


def village(dialect: str, logged: bool, static: bool, allbackups: bool) -> Rig:
    """Every kind of server: checked, with an agent, backup, tracker, tracker's tracker, unchecked, disabled, slow."""
    rig = Rig(dialect).proxy("b", log_health_checks=logged, static=static, allbackups=allbackups)
    rig.server("s1", agent=True, weight=10).server("s2", slowstart_ms=3000, weight=3, init_state="down")
    rig.server("bk", backup=True, rise=1, fall=1).server("t1", track="s1", agent=True, backup=True)
    rig.proxy("c", log_health_checks=logged).server("t2", track="t1", slowstart_ms=1500)
    rig.server("un", check=False).server("ag", check=False, agent=True).server("off", disabled=True, agent=True)
    return rig.start()


checks = st.tuples(
    st.just("check"),
    st.sampled_from(NAMES),
    st.sampled_from([Status.L7OK, Status.L7OK, Status.L7STS, Status.L7STS, Status.L4CON, Status.L7OKC, Status.CHECKED]),
)
agents = st.tuples(
    st.just("agent"),
    st.sampled_from(NAMES),
    st.sampled_from(["up", "down", "down # why", "ready", "drain", "maint up", "50%", "0%", "ready 100% up", "-", ""]),
)
words = st.sampled_from(
    [
        "set server b/{} state ready",
        "set server b/{} state drain",
        "set server b/{} state maint",
        "set server b/{} health up",
        "set server b/{} health stopping",
        "set server b/{} health down",
        "set server b/{} agent up",
        "set server b/{} agent down",
        "set weight b/{} 0",
        "set weight b/{} 200",
        "set weight b/{} 100%",
        "enable health b/{}",
        "disable health b/{}",
        "enable agent b/{}",
        "disable agent b/{}",
    ]
)
commands = st.tuples(st.just("cli"), st.sampled_from(NAMES), words)
times = st.tuples(st.just("time"), st.just("s1"), st.sampled_from([100, 1000, 2500]))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["2.6", "3"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.lists(checks | agents | commands | times, max_size=40),
)
@example("2.6", True, False, False, [("cli", "s1", "set server b/{} state maint"), ("agent", "s1", "ready")])
def test_anything(
    dialect: str, logged: bool, static: bool, allbackups: bool, events: list[tuple[str, str, object]]
) -> None:
    rig = village(dialect, logged, static, allbackups)
    rig.verify()
    for what, name, how in events:
        usable = [proxy.active + proxy.backup_active for proxy in rig.proxies]
        totals = [rig.fleet.total_weight(number) for number in range(len(rig.proxies))]
        rig.last = Effects()
        if what == "check":
            assert isinstance(how, Status)
            rig.check(name, how, 200)
        elif what == "agent":
            rig.agent(name, str(how))
        elif what == "cli":
            rig.cli(str(how).format(name))
        else:
            assert isinstance(how, int)
            rig.pass_time(how)
        rig.verify()
        lines = rig.drain()
        assert all(line.endswith((".", "!")) and "\n" not in line for line in lines)
        if what != "time":
            after = [rig.fleet.total_weight(number) for number in range(len(rig.proxies))]
            told = {number: after[number] for number in range(len(after)) if after[number] != totals[number]}
            assert rig.last.weights == told
            for number, proxy in enumerate(rig.proxies):
                gone = usable[number] > 0 and proxy.active + proxy.backup_active == 0
                assert not gone or f"<128> check backend {proxy.name} has no server available!" in lines


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.builds(
            CheckResult,
            epoch=st.sampled_from([0, 1, 2, 0xFFFFFFFF, 0x80000000]),
            status=st.sampled_from(Status),
            verdict=st.sampled_from(Verdict),
            code=st.integers(0, 999),
            health=st.integers(0, 1),
            duration_ms=st.integers(-1, 10),
            text=st.binary(max_size=127),
            status_changed=st.booleans(),
            counter_moved=st.booleans(),
            touched=st.booleans(),
            admin=st.sampled_from(AdminWord),
            weight_kind=st.sampled_from(WeightKind),
            weight=st.integers(-5, 2**31 - 1),
            maxconn=st.none() | st.integers(0, 2**31 - 1),
        ).flatmap(lambda result: st.tuples(st.sampled_from([HEALTH, AGENT]), st.booleans(), st.just(result))),
        max_size=20,
    )
)
def test_any_result_is_taken(results: list[tuple[int, bool, CheckResult]]) -> None:
    """Also what C would never say: no exception, right books, printable lines."""
    rig = Rig().proxy("b").server("s1", agent=True, rise=1, fall=1).server("t1", track="s1", agent=True).start()
    for which, logged, result in results:
        for index in (0, 1):
            effects = rig.fleet.result(index, which, result, 0, logged=logged)
            assert all(line.text.isascii() and line.text.isprintable() for line in effects.lines)
            for order in effects.orders:
                below, change = rig.below[order.server, order.which], order.change
                below.epoch = change.epoch or below.epoch
                assert change.epoch == 0 or change.touched
        for (index, which_check), below in rig.below.items():
            state = rig.servers[index].agent if which_check == AGENT else rig.servers[index].health
            assert state is not None
            below.health, below.paused, below.enabled = state.health, state.paused, state.enabled
            below.stopped = rig.servers[index].op == 0
            below.weight = rig.fleet.effective_weight(index)
            below.state_text = state_text(rig.servers[index])
        rig.verify()
