"""Families of prometheus_client as the SDK's metrics; for `otlp.py` alone.

Names keep Prometheus's form, but for those of OpenTelemetry's GenAI conventions, which have dots and no unit there.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource

from shared.telemetry.otlp_spans import SCOPE

Sample = tuple[str, Mapping[str, str], float]
CUMULATIVE = AggregationTemporality.CUMULATIVE
UNKNOWN: Any = None  # optional in the protocol; the SDK's types do not say so
CONVENTIONS = {
    "gen_ai_server_request_duration_seconds": "gen_ai.server.request.duration",
    "gen_ai_server_time_to_first_token_seconds": "gen_ai.server.time_to_first_token",
    "gen_ai_server_time_per_output_token_seconds": "gen_ai.server.time_per_output_token",
}
LABELS = {
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "gen_ai_response_model": "gen_ai.response.model",
    "gen_ai_provider_name": "gen_ai.provider.name",
    "error_type": "error.type",
}


def metrics_data(families: Sequence[Mapping[str, Any]], resource: Resource, now_ns: int) -> MetricsData:
    metrics = [metric for family in families if (metric := _metric(family, now_ns)) is not None]
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(SCOPE, metrics, "")], "")])


def _metric(family: Mapping[str, Any], now_ns: int) -> Metric | None:
    name, samples = family["name"], [(name, labels, value) for name, labels, value in family["samples"]]
    unit = "s" if name.endswith("_seconds") else "By" if name.endswith("_bytes") else "1"
    data: Sum | Gauge | Histogram
    match family["type"]:
        case "histogram":
            data = Histogram(_histograms(name, samples, now_ns), CUMULATIVE)
        case "counter":
            data = Sum(_numbers(samples, {f"{name}_total", name}, now_ns), CUMULATIVE, is_monotonic=True)
        case _:
            data = Gauge(_numbers(samples, {name}, now_ns))
    return Metric(CONVENTIONS.get(name, name), family["about"], unit, data) if data.data_points else None


def _numbers(samples: Iterable[Sample], names: set[str], now_ns: int) -> list[NumberDataPoint]:
    """What is none (`_created`) is left out: each point has its own start."""
    samples = list(samples)
    return [
        NumberDataPoint(_attributes(labels), _created(samples, labels), now_ns, value)
        for name, labels, value in samples
        if name in names
    ]


def _histograms(name: str, samples: Sequence[Sample], now_ns: int) -> list[HistogramDataPoint]:
    found: dict[tuple[tuple[str, str], ...], dict[str, Any]] = defaultdict(lambda: {"le": []})
    for sample, labels, value in samples:
        key = tuple(sorted((label, text) for label, text in labels.items() if label != "le"))
        if sample == f"{name}_bucket":
            found[key]["le"].append((float(labels["le"]), value))
        else:
            found[key][sample.removeprefix(f"{name}_")] = value
    points = []
    for key, one in found.items():
        bounds, counts = zip(*sorted(one["le"]), strict=True)
        counts = (counts[0], *(after - before for before, after in pairwise(counts)))
        points.append(
            HistogramDataPoint(
                attributes=_attributes(dict(key)),
                start_time_unix_nano=round(one.get("created", 0) * 1e9),
                time_unix_nano=now_ns,
                count=int(one["count"]),
                sum=one["sum"],
                bucket_counts=[int(count) for count in counts],
                explicit_bounds=list(bounds[:-1]),  # the last is infinity
                min=UNKNOWN,
                max=UNKNOWN,
            )
        )
    return points


def _created(samples: Iterable[Sample], labels: Mapping[str, str]) -> int:
    own = (value for name, of, value in samples if name.endswith("_created") and of == labels)
    return round(next(own, 0) * 1e9)


def _attributes(labels: Mapping[str, str]) -> dict[str, Any]:
    return {LABELS.get(name, name): value for name, value in labels.items() if value}  # to Prometheus "" is no label
