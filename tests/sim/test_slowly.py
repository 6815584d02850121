"""The same run slowly, check by check through full probes, turns the same servers at the same times for the same reasons."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from risefall.cli.loading import load_text
from risefall.sim.runs import build_estate
from risefall.sim.scenario import Event, Fault, Latency, Network, Scenario, Shape
from risefall.sim.weather import make_weather
from sim_kit import CONFIG, MINUTE_MS, slowly, told, turns_of

SPAN_MS = 10 * MINUTE_MS

ROUGH = Scenario(
    balancers=2,
    wrong=0.05,
    network=msgspec.structs.replace(Scenario().network, loss=0.05),
    reply=msgspec.structs.replace(Scenario().reply, median=60.0, sigma=1.2),
    event=(
        *(
            Event(kind=kind, every=7 * MINUTE_MS, lasts=20_000)
            for kind in (Fault.CRASH, Fault.HOST, Fault.HANG, Fault.WRONG, Fault.PAUSE)
        ),
        Event(kind=Fault.BROWNOUT, every=5 * MINUTE_MS, lasts=30_000, slow=10.0, wrong=0.2),
        Event(kind=Fault.PARTITION, every=20 * MINUTE_MS, lasts=10_000),
        Event(kind=Fault.REBOOT, every=25 * MINUTE_MS),
    ),
)
WITH_AGENT = f"{CONFIG.rstrip()} agent-check agent-port 99 agent-inter 900ms\n"


def compare(text: str, dialect: str, scenario: Scenario, seed: int, span_ms: int) -> int:
    """Both ways; how many turns there were."""
    loaded = load_text("t.cfg", text, {}, dialect)
    estate = build_estate(loaded)
    weather = make_weather(scenario, len(estate.servers), span_ms, seed)
    fast, _, checks = turns_of(estate, scenario, span_ms, seed, weather)
    slow, made = slowly(loaded, scenario, weather, span_ms, seed)
    assert told(slow) == told(fast)
    assert made == checks > 0
    return len(fast)


@pytest.mark.parametrize("dialect", ["2.6", "3"])
def test_an_hour_of_everything_at_once(dialect: str) -> None:
    assert compare(WITH_AGENT, dialect, ROUGH, 5, 60 * MINUTE_MS) > 200


KINDS = (
    "",
    "option httpchk",
    "option httpchk GET /x\nhttp-check expect ! rstatus ^5",
    'option httpchk\nhttp-check expect string "all is well"',
    "option redis-check",
    "option smtpchk HELO here",
    "option mysql-check user u",
    "option pgsql-check user u",
    "option ldap-check",
    "option ssl-hello-chk",
    "option tcp-check\ntcp-check send PING\\r\\n\ntcp-check expect string +PONG",
    "option tcp-check\ntcp-check connect port 81\ntcp-check expect string hi\ntcp-check connect port 82\ntcp-check expect string ho",
    "option external-check\nexternal-check command /bin/true",
)
WORDS = {
    "inter": ("100ms", "333ms", "1s", "2s", "7s"),
    "fastinter": ("", "50ms", "400ms", "3s"),
    "downinter": ("", "200ms", "1500ms", "5s"),
    "rise": ("1", "2", "3", "7"),
    "fall": ("1", "2", "3", "6"),
}
DEADLINES = ("", "40ms", "250ms", "900ms", "1500ms", "4s")


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """One backend of a few servers of one kind, with any pace and any deadline."""
    lines = ["global", "  external-check", "  insecure-fork-wanted", f"  spread-checks {draw(st.integers(0, 50))}"]
    lines += ["defaults"]
    for word in ("check", "connect"):
        if value := draw(st.sampled_from(DEADLINES)):
            lines.append(f"  timeout {word} {value}")
    lines += ["backend app", *(f"  {line}" for line in draw(st.sampled_from(KINDS)).splitlines())]
    for number in range(draw(st.integers(1, 2))):
        words = " ".join(
            f"{name} {value}" for name, values in WORDS.items() if (value := draw(st.sampled_from(values)))
        )
        agent = draw(st.sampled_from(("", " agent-check agent-port 99 agent-inter 800ms")))
        lines.append(f"  server s{number} 10.0.0.1:80 check {words}{agent}")
    return "\n".join(lines) + "\n"


latencies = st.one_of(
    st.builds(Latency, shape=st.just(Shape.CONSTANT), median=st.sampled_from((0.3, 40.0, 600.0))),
    st.builds(Latency, median=st.sampled_from((1.0, 80.0)), sigma=st.floats(0, 2)),
    st.builds(Latency, shape=st.just(Shape.PARETO), median=st.just(5.0), alpha=st.floats(0.3, 3)),
    st.just(Latency(shape=Shape.HISTOGRAM, points=((1.0, 80.0), (90.0, 15.0), (1200.0, 5.0)))),
)
shares = st.sampled_from((0.0, 0.0, 0.01, 0.3))
events = st.builds(
    Event,
    kind=st.sampled_from(Fault),
    every=st.integers(20_000, 5 * MINUTE_MS),
    lasts=st.sampled_from((1, 150, 900, 5000, 40_000)),
    steady=st.booleans(),
    slow=st.sampled_from((0.5, 1.0, 8.0)),
    loss=shares,
    wrong=shares,
)
scenarios = st.builds(
    Scenario,
    balancers=st.integers(1, 2),
    together=st.booleans(),
    network=st.builds(Network, trip=latencies, loss=shares),
    reply=latencies,
    wrong=shares,
    event=st.lists(events, max_size=4).map(tuple),
)


@settings(max_examples=60)
@given(configurations(), st.sampled_from(("2.6", "3")), scenarios, st.integers(0, 2**63 - 1))
def test_whatever_the_configuration_and_the_scenario(text: str, dialect: str, scenario: Scenario, seed: int) -> None:
    turns = compare(text, dialect, scenario, seed, SPAN_MS)
    event("turns" if turns else "nothing turns")


@given(st.integers(0, 2**63 - 1))
@settings(max_examples=5)
def test_balancers_that_differ(seed: int) -> None:
    """A burst and a brown-out on the way of one balancer alone, and its reboot."""
    alone = (
        Event(kind=Fault.BURST, every=MINUTE_MS, lasts=10_000, loss=0.6, balancer=2),
        Event(kind=Fault.BROWNOUT, every=MINUTE_MS, lasts=10_000, slow=30.0, balancer=1),
        Event(kind=Fault.REBOOT, every=3 * MINUTE_MS, balancer=2),
    )
    assert compare(WITH_AGENT, "2.6", msgspec.structs.replace(ROUGH, event=alone, balancers=3), seed, SPAN_MS) > 0
