"""What the agent shows to Prometheus: its signals, weights and answers."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from risefall.agent.leases import NS
from risefall.agent.wire import Said
from risefall.engine.answerer import Counts

PREFIX = "risefall_agent_"


class Snapshot(Collector):
    """One moment of the agent as metrics."""

    def __init__(self, said: Said, counts: Counts) -> None:
        self._said = said
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        yield from self._services()
        yield from self._signals()
        answers = CounterMetricFamily(
            f"{PREFIX}connections", "Connections of balancers, by how they went.", labels=["how"]
        )
        for how, count in msgspec.structs.asdict(self._counts).items():
            if how != "open":
                answers.add_metric([how], count)
        yield answers
        yield GaugeMetricFamily(f"{PREFIX}connections_open", "Connections now.", value=self._counts.open)

    def _services(self) -> Iterator[Metric]:
        good = GaugeMetricFamily(f"{PREFIX}good", "1 while new clients are welcome.", labels=["service"])
        weight = GaugeMetricFamily(f"{PREFIX}weight_percent", "The weight; 0 while not good.", labels=["service"])
        state = GaugeMetricFamily(f"{PREFIX}state", "1 for the state that is said.", labels=["service", "state"])
        polls = GaugeMetricFamily(f"{PREFIX}balancers", "Balancers that have polled of late.", labels=["service"])
        order = GaugeMetricFamily(
            f"{PREFIX}order_left_seconds",
            "What is left of an order's lease; +Inf without one.",
            labels=["service", "order"],
        )
        for shown in self._said.services:
            name = shown.standing.service
            good.add_metric([name], shown.standing.good)
            weight.add_metric([name], shown.standing.weight_pct)
            state.add_metric([name, shown.standing.state], 1)
            polls.add_metric([name], len(shown.balancers))
            for each in shown.orders:
                left = float("inf") if each.ends_ns is None else (each.ends_ns - self._said.now_ns) / NS
                order.add_metric([name, each.word.value], left)
        yield from (good, weight, state, polls, order)

    def _signals(self) -> Iterator[Metric]:
        value = GaugeMetricFamily(f"{PREFIX}signal", "The last number of a signal.", labels=["service", "signal"])
        age = GaugeMetricFamily(f"{PREFIX}signal_age_seconds", "How old that number is.", labels=["service", "signal"])
        failing = GaugeMetricFamily(
            f"{PREFIX}signal_failing", "1 while a signal cannot be read.", labels=["service", "signal"]
        )
        for shown in self._said.services:
            for seen in shown.signals:
                labels = [shown.standing.service, seen.name]
                failing.add_metric(labels, bool(seen.failure))
                if seen.value is not None and seen.age_s is not None:
                    value.add_metric(labels, seen.value)
                    age.add_metric(labels, seen.age_s)
        yield from (value, age, failing)


def render_metrics(said: Said, counts: Counts) -> bytes:
    """The page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Snapshot(said, counts))
    return generate_latest(registry)
