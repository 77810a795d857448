"""A process's metrics: prometheus_client's registry, the state of its owners, and how late its event loop is.

What a service counts on its hot paths it counts with instruments made here (an observation costs a microsecond). The
`statistics()` of its owners are read when somebody asks, and told as gauges under the service's prefix.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

Statistics = Mapping[str, Any]  # numbers, and mappings of numbers

# OpenTelemetry's advice for GenAI servers (semantic-conventions-genai, gen-ai-metrics.md), seconds.
DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
HOP_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STEP_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LAG_EVERY_S = 0.1


class Metrics:
    """`prefix` begins the names of everything made here that has no name of a convention: "sluice_engine"."""

    def __init__(self, prefix: str, statistics: Callable[[], Statistics] = dict) -> None:
        self.prefix = prefix
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_State(prefix, statistics))
        self.loop_lag = self.histogram("event_loop_lag_seconds", "How late the event loop woke up", buckets=HOP_S)

    def counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(self._name(name), about, labels, registry=self.registry)

    def gauge(self, name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(self._name(name), about, labels, registry=self.registry)

    def histogram(
        self, name: str, about: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = DURATION_S
    ) -> Histogram:
        return Histogram(self._name(name), about, labels, registry=self.registry, buckets=buckets)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The text for Prometheus, and its content type, in the form that `accept` asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def families(self) -> list[dict[str, Any]]:
        """All of it as values, for the exporter."""
        return [
            {
                "name": family.name,
                "type": family.type,
                "about": family.documentation,
                "samples": [(sample.name, sample.labels, sample.value) for sample in family.samples],
            }
            for family in self.registry.collect()
        ]

    async def watch_loop(self) -> None:
        """Measures for ever how late timers come: what hogs the loop makes everything on it wait so long."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.loop_lag.observe(max(0.0, loop.time() - due))

    def _name(self, name: str) -> str:
        return name if name.startswith("gen_ai_") else f"{self.prefix}_{name}"


class _State(Collector):
    """Nested statistics: {"queue": {"length": 3}} is `prefix_queue_length 3`."""

    def __init__(self, prefix: str, statistics: Callable[[], Statistics]) -> None:
        self._prefix = prefix
        self._statistics = statistics

    def collect(self) -> Iterable[Metric]:
        for name, value in flat(self._prefix, self._statistics()):
            yield GaugeMetricFamily(name, "State of its owner", value=value)

    def describe(self) -> Iterable[Metric]:
        """Nothing is known of them before somebody asks."""
        return ()


def flat(prefix: str, statistics: Statistics) -> Iterable[tuple[str, float]]:
    for name, value in statistics.items():
        if isinstance(value, Mapping):
            yield from flat(f"{prefix}_{name}", value)
        else:
            yield f"{prefix}_{name}", float(value)
