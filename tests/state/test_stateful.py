"""Hands, checks, agents, names, reloads and servers that come and go in any order, against a second model of what a server is.

The model has no tables: it says in plain conditions what the specification says in prose (§1.2, §1.3, §1.9, §4.5, §5, §7.2).
What it says of each server must be what the fleet shows after every step.

`RISEFALL_EXAMPLES=20000 pytest tests/state/test_stateful.py` looks longer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from state_kit import Below, Rig

from risefall.state.carrying import all_of, carry_proxy
from risefall.state.commands import Refused, find_address, lose_address
from risefall.state.exchange import CheckChange
from risefall.state.fleet import Effects
from risefall.state.server import AGENT, HEALTH
from risefall.state.succession import succeed
from risefall.state.work import Order
from risefall.status import Status

RISE, FALL = 2, 3
FULL = RISE + FALL - 1
WARM = 16
"""Sixteenths of a weight."""


@dataclass
class Clock:
    now_ms: int = 0


@dataclass(frozen=True)
class Line:
    """What the file says of one server."""

    name: str
    check: bool = True
    agent: bool = False
    track: str = ""
    disabled: bool = False
    weight: int = 1
    backup: bool = False
    slow_s: int = 0


@dataclass
class Model:
    """One server. op: `down`, `up` or `nolb`. A counter is None without a check.

    since_ms: when it changed last. warmth: what a slowstart allows of its weight, WARM without one.
    pinned: an added server has tracked it, so that it stays.
    """

    line: Line
    clock: Clock
    op: str = "up"
    since_ms: int = 0
    warmth: int = WARM
    pinned: bool = False
    forced: bool = False
    unresolved: bool = False
    drained: bool = False
    weight: int = 1
    health: int | None = None
    health_on: bool = True
    paused: bool = False
    agent: int | None = None
    agent_on: bool = True
    trackers: list[Model] = field(default_factory=list)
    parent: Model | None = None

    # --- what holds --------------------------------------------------------------------------------------

    @property
    def maint(self) -> bool:
        return self.forced or self.unresolved or (self.parent is not None and self.parent.maint)

    @property
    def drain(self) -> bool:
        return self.drained or (self.parent is not None and self.parent.drain)

    @property
    def end(self) -> Model:
        return self if self.parent is None else self.parent.end

    def blocked(self) -> bool:
        """Whether a check of its own stands against UP."""
        sick = self.health is not None and self.health_on and self.health < RISE
        return sick or (self.agent is not None and self.agent_on and self.agent == 0)

    # --- what befalls it ---------------------------------------------------------------------------------

    def enter(self, op: str) -> None:
        """Another state, unless in maintenance; trackers do the same."""
        if self.maint or self.op == op:
            return
        self.become(op)
        for tracker in self.trackers:
            tracker.enter(op)

    def become(self, op: str) -> None:
        self.op = op
        self.since_ms = self.clock.now_ms
        self.warmth = 1 if op == "up" and self.line.slow_s else WARM

    def grow(self) -> None:
        """A second of a slowstart has gone by (§1.9)."""
        if self.warmth < WARM:
            elapsed_s = (self.clock.now_ms - self.since_ms) // 1000
            slow_s = self.line.slow_s
            self.warmth = (WARM * elapsed_s + slow_s) // slow_s if elapsed_s < slow_s else WARM

    def want(self, op: str, *, by_agent: bool = False) -> None:
        """A check that has passed wants a state."""
        if self.maint or self.blocked() or (by_agent and self.op == "nolb"):
            return
        if self.parent is not None and self.parent.op == "down":
            return
        self.enter(op)

    def leave_or_enter(self, before: bool) -> None:
        """After a flag has changed: maintenance begins or ends, here and for those that track it."""
        if not before and self.maint:
            if self.health is not None and (self.health_on or self.op != "down"):
                self.health = 0
            self.become("down")
            self.paused = self.paused or self.health_on
        elif before and not self.maint:
            if self.health_on:
                self.paused = False
                self.health = None if self.health is None else RISE
            above = self.parent.op if self.parent is not None else "up"
            self.become("down" if self.blocked() else above)

    def flag(self, name: str, value: bool) -> None:
        """Sets a flag of its own."""
        family = [self, *self.descendants()]
        before = [(one, one.maint, one.drain) for one in family]
        setattr(self, name, value)
        for one, was_maint, was_drain in before:
            one.leave_or_enter(was_maint)
            if one.drain != was_drain and not one.maint:
                one.since_ms = one.clock.now_ms

    def descendants(self) -> list[Model]:
        return [one for tracker in self.trackers for one in (tracker, *tracker.descendants())]

    def checked(self, status: Status, *, late: bool) -> None:
        """A health check ends; one that began before it was stopped counts, but moves nobody out of maintenance."""
        if self.health is None or ((not self.health_on or self.paused) and not late):
            return
        if status is Status.L7OKC and self.op == "down":
            status = Status.L7STS
        if status is Status.L7STS:
            self.health = self.health - 1 if self.health - 1 >= RISE else 0
            if self.health == 0:
                self.enter("down")
            return
        self.health = FULL if self.health + 1 >= RISE else self.health + 1
        self.want("nolb" if status is Status.L7OKC else "up")

    def answered(self, word: str) -> None:
        """An agent's line of one word."""
        if self.agent is None or not self.agent_on:
            return
        match word:
            case "up":
                self.agent = 1
                self.want("up", by_agent=True)
            case "down":
                self.agent = 0
                self.enter("down")
            case "ready" | "drain" | "maint":
                self.state(word)
            case "0%" | "50%" | "300%":
                self.weight = min(256, self.line.weight * int(word[:-1]) // 100)

    def state(self, word: str) -> None:
        if word == "maint":
            self.flag("forced", True)
            self.flag("drained", False)
        else:
            self.flag("drained", word == "drain")
            self.flag("forced", False)

    # --- what it shows -----------------------------------------------------------------------------------

    def shown(self) -> str:
        """The status column (§7.2)."""
        end = self.end
        on = end.health is not None and end.health_on
        talks = end.agent is not None and end.agent_on
        count = end.health if end.health is not None else 0
        fraction = f" {count - RISE + 1}/{FALL}" if end.op != "down" else f" {count}/{RISE}"
        if self.unresolved:
            return "MAINT (resolution)"
        if self.parent is not None and self.parent.maint:
            return f"MAINT (via b/{self.parent.line.name})"
        if self.forced:
            return "MAINT"
        if self.op == "up" and self.drain:
            return "DRAIN (agent)" if talks else f"DRAIN{fraction}" if on and count < FULL else "DRAIN"
        if self.op == "up":
            return "no check" if not on else f"UP{fraction}" if count < FULL else "UP"
        if self.op == "nolb":
            own = self.health is not None and self.health_on
            whole = (not own and self.parent is None) or count == FULL
            return "NOLB" if whole else f"NOLB{fraction}"
        if talks and end.agent == 0:
            return "DOWN (agent)"
        if (on and count == 0) or not (on or talks):
            return "DOWN"
        return f"DOWN{fraction}"

    def usable(self) -> bool:
        return self.op == "up" and self.weight > 0 and not self.maint and not self.drain

    def effective_weight(self) -> int:
        """Outside of maintenance."""
        return -(-self.weight * self.warmth // WARM)

    def may_go(self) -> bool:
        """Whether it can be deleted (§5.5)."""
        return self.maint and not self.trackers and not self.pinned


LINES = (
    Line("s1", agent=True, weight=100),
    Line("s2", weight=40, slow_s=3),
    Line("bk", backup=True, weight=2),
    Line("t1", check=False, track="s1"),
    Line("t2", check=False, track="t1", weight=40, slow_s=2),
    Line("un", check=False),
    Line("off", disabled=True),
)
ADDED = (
    Line("n1", agent=True, weight=7),
    Line("n2", check=False, backup=True, track="s2"),
)
names = st.sampled_from([line.name for line in LINES + ADDED])


class Village(RuleBasedStateMachine):
    """The fleet, C below it, and the model beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = LINES
        self.rig = Rig("2.6")
        self.clock = Clock()
        self.models: dict[str, Model] = {}

    @initialize()
    def begin(self) -> None:
        self.rig = self.build(self.lines).start()
        self.models = {line.name: model_of(line, self.clock) for line in self.lines}
        self.link()

    def build(self, lines: tuple[Line, ...]) -> Rig:
        rig = Rig("2.6").proxy("b")
        for line in lines:
            rig.server(
                line.name,
                check=line.check,
                agent=line.agent,
                track=line.track,
                disabled=line.disabled,
                weight=line.weight,
                rise=RISE,
                fall=FALL,
                backup=line.backup,
                slowstart_ms=line.slow_s * 1000,
            )
        return rig

    def link(self) -> None:
        """Who tracks whom."""
        for model in self.models.values():
            model.trackers, model.parent = [], None
        for model in self.models.values():
            if model.line.track:
                model.parent = self.models[model.line.track]
                model.parent.trackers.append(model)

    # --- steps -------------------------------------------------------------------------------------------

    @rule(name=names, status=st.sampled_from([Status.L7OK, Status.L7STS, Status.L7OKC]), late=st.booleans())
    def a_check_ends(self, name: str, status: Status, late: bool) -> None:
        if name not in self.models:
            return
        self.rig.check(name, status, late=late)
        self.models[name].checked(status, late=late)

    @rule(name=names, word=st.sampled_from(["up", "down", "ready", "drain", "maint", "-", "0%", "50%", "300%"]))
    def an_agent_answers(self, name: str, word: str) -> None:
        if name not in self.models:
            return
        self.rig.agent(name, word)
        self.models[name].answered(word)

    @rule(name=names, word=st.sampled_from(["ready", "drain", "maint"]))
    def a_hand_sets_the_state(self, name: str, word: str) -> None:
        if name not in self.models:
            return
        self.rig.cli(f"set server b/{name} state {word}")
        self.models[name].state(word)

    @rule(name=names, weight=st.sampled_from([0, 1, 100]))
    def a_hand_sets_the_weight(self, name: str, weight: int) -> None:
        if name not in self.models:
            return
        self.rig.cli(f"set weight b/{name} {weight}")
        self.models[name].weight = weight

    @rule(name=names, word=st.sampled_from(["up", "stopping", "down"]))
    def a_hand_sets_the_health(self, name: str, word: str) -> None:
        if name not in self.models:
            return
        self.rig.cli(f"set server b/{name} health {word}")
        model = self.models[name]
        if model.parent is None:
            if model.health is not None:
                model.health = 0 if word == "down" else FULL
            model.enter({"up": "up", "stopping": "nolb", "down": "down"}[word])

    @rule(name=names, word=st.sampled_from(["up", "down"]))
    def a_hand_speaks_for_the_agent(self, name: str, word: str) -> None:
        if name not in self.models:
            return
        self.rig.cli(f"set server b/{name} agent {word}")
        model = self.models[name]
        if model.agent is not None and model.agent_on:
            model.agent = int(word == "up")
            model.enter(word)

    @rule(name=names, what=st.sampled_from(["health", "agent"]), on=st.booleans())
    def a_hand_switches_a_check(self, name: str, what: str, on: bool) -> None:
        if name not in self.models:
            return
        self.rig.cli(f"{'enable' if on else 'disable'} {what} b/{name}")
        setattr(self.models[name], f"{what}_on", on)

    @rule(name=names, found=st.booleans())
    def a_name_server_answers(self, name: str, found: bool) -> None:
        if name not in self.models:
            return
        act = find_address if found else lose_address
        told = (self.rig.now_ms,) if found else ("DNS NX status", self.rig.now_ms)
        self.rig._take(act(self.rig.fleet, self.rig.index[name], *told))  # type: ignore[operator]
        self.models[name].flag("unresolved", not found)

    @rule(ms=st.sampled_from([100, 1000, 1500]))
    def time_passes(self, ms: int) -> None:
        self.rig.pass_time(ms)
        for _ in range(ms // 1000):
            self.clock.now_ms += 1000
            for model in self.models.values():
                model.grow()
        self.clock.now_ms += ms % 1000

    @rule(line=st.sampled_from(ADDED))
    def a_server_is_added(self, line: Line) -> None:
        """In maintenance, its checks configured and not enabled."""
        if line.name in self.models or (line.track and line.track not in self.models):
            return
        self.rig.add(
            line.name, check=line.check, agent=line.agent, track=line.track, weight=line.weight, backup=line.backup
        )
        model = model_of(line, self.clock)
        model.op, model.forced, model.health_on, model.agent_on = "down", True, False, False
        self.models[line.name] = model
        self.link()
        if model.parent is not None:
            model.parent.pinned = True

    @rule(name=names)
    def a_server_is_deleted(self, name: str) -> None:
        """Also one of the file."""
        if name not in self.models:
            return
        if self.models[name].may_go():
            self.rig.remove(name)
            del self.models[name]
            self.link()
        else:
            with pytest.raises(Refused):
                self.rig.remove(name)

    @precondition(lambda self: bool(self.models))
    @rule(
        order=st.permutations(LINES),
        disabled=st.sets(names, max_size=2),
        gone=st.sets(st.sampled_from(["s2", "un", "bk"]), max_size=1),
        weights=st.dictionaries(names, st.sampled_from([0, 1, 7]), max_size=2),
        slow_s=st.sampled_from([None, None, 0, 5]),
    )
    def a_reload(
        self, order: list[Line], disabled: set[str], gone: set[str], weights: dict[str, int], slow_s: int | None
    ) -> None:
        """The file is another one: in another order, other servers `disabled`, other weights and slowstarts, some that were
        not there or go. Servers that were added are dropped, those that were deleted are back.
        """
        lines = tuple(
            replace(
                one,
                disabled=one.name in disabled,
                weight=weights.get(one.name, one.weight),
                slow_s=one.slow_s if slow_s is None or not one.slow_s else slow_s,
            )
            for one in in_order(order)
            if one.name not in gone
        )
        self.take_over(lines)
        self.foresee(lines)

    def take_over(self, lines: tuple[Line, ...]) -> None:
        old, heir = self.rig, self.build(lines)
        heir.now_ms = old.now_ms
        said = {line.name: line for line in self.lines}
        matched = [old.index.get(line.name, -1) for line in lines]
        carry_proxy(old.proxies[0], heir.proxies[0])
        made = succeed(
            old.fleet,
            heir.proxies,
            heir.servers,
            matched,
            lambda was, now: said[lines[now].name] == lines[now],
            (),
            heir.now_ms,
        )
        heir.fleet, heir.below = made.fleet, {}
        orders: list[Order] = []
        for index, server in enumerate(heir.servers):
            for which, check in ((HEALTH, server.health), (AGENT, server.agent)):
                if check is None:
                    continue
                kept = old.below.get((matched[index], which)) if matched[index] >= 0 else None
                heir.below[index, which] = kept or Below(check, server)
                if kept is None or index in made.stale:
                    change: CheckChange = all_of(made.fleet, index, which)
                    orders.append(Order(index, which, change))
        heir._take(Effects(orders=orders))
        self.rig = heir
        self.lines = lines

    def foresee(self, lines: tuple[Line, ...]) -> None:
        """The model's own view of §1.11: the file's `disabled` counts where it changed, everything else stays."""
        old = self.models
        above = {name: model.maint for name, model in old.items()}
        warming = {name: model.warmth for name, model in old.items()}
        self.models = {}
        for line in lines:
            was = old.get(line.name)
            model = model_of(line, self.clock)
            self.models[line.name] = model
            if was is None:
                continue
            model.since_ms = was.since_ms
            model.unresolved = False if was.line != line else was.unresolved
            model.drained = was.drained and not (was.line != line and was.line.weight == 0 and line.weight > 0)
            model.paused = was.paused
            if was.line.weight == line.weight:
                model.weight = was.weight
            if was.line.disabled == line.disabled:
                model.forced = was.forced
            model.health_on, model.agent_on, model.agent = was.health_on, was.agent_on, was.agent
        self.link()
        for model in roots_first(self.models):
            self.settle(model, old.get(model.line.name), above)
            if model.op == "up" and model.line.slow_s:
                model.warmth = warming.get(model.line.name, WARM)

    def settle(self, model: Model, was: Model | None, above: dict[str, bool]) -> None:
        if model.parent is not None:
            model.op = model.parent.op
        elif was is None:
            model.op = "up"
        elif above[was.line.name] and not model.maint:
            model.op = "down" if model.blocked() else "up"
        else:
            model.op = was.op
            model.health = was.health
        same = was is not None and was.line == model.line
        model.paused = model.paused and (same or model.maint)
        if model.maint:
            model.op = "down"
            if model.health is not None and was is not None and (model.paused or not model.health_on):
                model.health = was.health
            elif model.health is not None:
                model.health = 0
            model.paused = model.paused or model.health_on

    # --- what must hold ----------------------------------------------------------------------------------

    @invariant()
    def both_say_the_same(self) -> None:
        if not self.models:
            return
        self.rig.verify()
        assert {name: self.rig.status(name) for name in self.models} == {
            name: model.shown() for name, model in self.models.items()
        }
        weights = {name: self.rig.servers[self.rig.index[name]].uweight for name in self.models}
        assert weights == {name: model.weight for name, model in self.models.items()}
        effective = {
            name: self.rig.fleet.effective_weight(self.rig.index[name])
            for name, model in self.models.items()
            if not model.maint
        }
        assert effective == {name: self.models[name].effective_weight() for name in effective}
        proxy = self.rig.proxies[0]
        usable = [model for model in self.models.values() if model.usable()]
        backups = sum(model.line.backup for model in usable)
        assert (proxy.active, proxy.backup_active) == (len(usable) - backups, backups)


def test_who_tracked_a_server_is_forgotten_by_a_reload() -> None:
    """An added server that tracks another keeps it from being deleted for as long as there is a configuration."""
    village = Village()
    village.begin()
    village.a_server_is_added(ADDED[1])
    village.a_hand_sets_the_state("s2", "maint")
    village.a_server_is_deleted("n2")
    village.a_server_is_deleted("s2")
    assert "s2" in village.models
    village.a_reload(list(LINES), set(), set(), {}, None)
    village.a_server_is_deleted("s2")
    assert "s2" not in village.models
    village.both_say_the_same()


def model_of(line: Line, clock: Clock) -> Model:
    """A server as it starts."""
    return Model(
        line,
        clock,
        op="down" if line.disabled else "up",
        forced=line.disabled,
        weight=line.weight,
        paused=line.disabled,
        health=None if not line.check else 0 if line.disabled else RISE,
        agent=1 if line.agent else None,
    )


def in_order(lines: list[Line]) -> list[Line]:
    """A server stands behind the one that it tracks: the rig builds them one after the other."""
    tracked = {line.name: line for line in lines}
    found: list[Line] = []
    for line in lines:
        chain = [line]
        while chain[0].track:
            chain.insert(0, tracked[chain[0].track])
        found += [one for one in chain if one not in found]
    return found


def roots_first(models: dict[str, Model]) -> list[Model]:
    return sorted(
        models.values(), key=lambda model: 0 if model.parent is None else 1 + (model.parent.parent is not None)
    )


TestVillage = Village.TestCase
TestVillage.settings = settings(
    max_examples=int(os.environ.get("RISEFALL_EXAMPLES", "200")), stateful_step_count=30, deadline=None
)
