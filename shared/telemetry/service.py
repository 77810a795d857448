"""One process's telemetry, put together once in its `__main__`: recorder, metrics, exporter."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared.errors import ConfigError
from shared.telemetry.exporter import METRICS_S, Exporter, endpoint, wanted
from shared.telemetry.metrics import Metrics, Statistics
from shared.telemetry.recorder import Recorder

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class Telemetry:
    recorder: Recorder
    metrics: Metrics
    exporter: Exporter | None  # None: no collector is named

    async def run(self) -> None:
        """Its tasks, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.metrics.watch_loop(), name="loop lag")
            if self.exporter is not None:
                tasks.create_task(self.exporter.run(), name="telemetry")


def opened(
    service: str, instance: str, environ: Mapping[str, str], statistics: Callable[[], Statistics], slow_s: float = 0.0
) -> Telemetry:
    """`service` is "gateway", "engine" or "detokenizer". Raises ConfigError naming the variable that is wrong."""
    spans, metrics_too = wanted(environ)
    recorder = Recorder(service, instance, exports=spans, slow_s=slow_s)
    exporter: Exporter | None = None

    def all_of_it() -> Statistics:
        parts = {"telemetry": recorder.statistics()} | ({"exporter": exporter.statistics()} if exporter else {})
        return {**statistics(), **parts}

    metrics = Metrics(f"sluice_{service}", all_of_it)
    if spans or metrics_too:
        resource = {
            "service.name": environ.get("OTEL_SERVICE_NAME", "").strip() or f"sluice-{service}",
            "service.instance.id": instance,
            "service.version": VERSION,
        }
        exporter = Exporter(
            recorder, metrics.families if metrics_too else None, resource, endpoint(environ), _interval_s(environ)
        )
    return Telemetry(recorder, metrics, exporter)


def _interval_s(environ: Mapping[str, str]) -> float:
    text = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
    try:
        milliseconds = float(text) if text else METRICS_S * 1000
    except ValueError:
        milliseconds = 0.0
    if milliseconds <= 0:
        raise ConfigError(f"OTEL_METRIC_EXPORT_INTERVAL must be milliseconds above 0, not {text!r}")
    return milliseconds / 1000
