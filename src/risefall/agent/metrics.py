"""What the agent shows to Prometheus: its signals, weights and answers.

Names and units as https://prometheus.io/docs/practices/naming/ has them: base units, ratios from 0 to 1, and a label only
where the sum over it means something.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from risefall.agent.leases import NS
from risefall.agent.rules import ADMIN
from risefall.agent.standing import UNKNOWN
from risefall.agent.wire import Said
from risefall.engine.answerer import Counts

PREFIX = "risefall_agent_"
STATES = (*sorted(ADMIN), "up", "down", UNKNOWN)
COUNTERS = {
    "accepted": ("connections", "Connections of balancers."),
    "answered": ("answers", "Answers given."),
    "stale": ("answers_stale", "Answers whose numbers were too old, so that the safe word was said."),
    "late": ("answers_late", "Answers for which no whole agent-send came in time."),
    "unknown": ("words_unknown", "Texts that no service of their port is called."),
    "silent": ("connections_silent", "Connections for which there was nothing to say."),
    "refused": ("connections_refused", "Connections from outside of the allowed networks."),
    "crowded": ("connections_crowded", "Connections above what one source may have."),
    "evicted": ("connections_evicted", "Connections given up for others."),
    "told_lost": ("told_lost", "Changes of who was told what that were noted late."),
}
"""Of the answerer: what it counts, the metric's name, and its meaning."""


class Snapshot(Collector):
    """One moment of the agent as metrics."""

    def __init__(self, said: Said, counts: Counts) -> None:
        self._said = said
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        yield from self._services()
        yield from self._signals()
        for field, (name, meaning) in COUNTERS.items():
            yield CounterMetricFamily(f"{PREFIX}{name}", meaning, value=getattr(self._counts, field))
        yield GaugeMetricFamily(f"{PREFIX}connections_open", "Connections now.", value=self._counts.open)
        info = GaugeMetricFamily(f"{PREFIX}build_info", "Always 1.", labels=["version"])
        info.add_metric([version("risefall")], 1)
        yield info

    def _services(self) -> Iterator[Metric]:
        good = GaugeMetricFamily(f"{PREFIX}good", "1 while new clients are welcome.", labels=["service"])
        weight = GaugeMetricFamily(
            f"{PREFIX}weight_ratio", "The weight, 1 for all of it; 0 while not good.", labels=["service"]
        )
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
            weight.add_metric([name], shown.standing.weight_pct / 100)
            for each in STATES:
                state.add_metric([name, each], each == shown.standing.state)
            polls.add_metric([name], len(shown.balancers))
            for given in shown.orders:
                left = float("inf") if given.ends_ns is None else (given.ends_ns - self._said.now_ns) / NS
                order.add_metric([name, given.word.value], left)
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
    ProcessCollector(registry=registry)
    return generate_latest(registry)
