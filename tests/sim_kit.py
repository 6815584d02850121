"""Small estates in virtual time."""

from __future__ import annotations

from risefall.cli.loading import load_text
from risefall.engine.simulated import Turn
from risefall.sim.runs import Check, Estate, build_estate, build_simulation
from risefall.sim.scenario import Latency, Network, Scenario, Shape
from risefall.sim.weather import Weather, make_weather

INSTANT = Latency(shape=Shape.CONSTANT, median=0.001)
QUIET = Scenario(balancers=1, network=Network(trip=INSTANT, loss=0.0), reply=INSTANT)
"""Nothing happens, and nothing takes time."""


def estate(words: str = "inter 1s", servers: int = 1, more: str = "option httpchk", defaults: str = "") -> Estate:
    """Servers that are checked with these words."""
    lines = "\n".join(f"  server s{number} 10.0.0.1:80 check {words}" for number in range(servers))
    return build_estate(load_text("t.cfg", f"defaults\n{defaults}\nbackend app\n  {more}\n{lines}\n", {}, "2.6"))


def turns_of(
    made: Estate, scenario: Scenario, span_ms: int, seed: int = 1, weather: Weather | None = None
) -> tuple[list[Turn], list[tuple[Check, int]], int]:
    """What changed, whose each check is, and how many were made."""
    weather = weather or make_weather(scenario, len(made.servers), span_ms, seed)
    sim, owners = build_simulation(made, scenario, weather, seed)
    turns: list[Turn] = []
    with sim:
        while sim.now_ms < span_ms:
            turns += sim.run(span_ms)
        return turns, owners, sim.checks
