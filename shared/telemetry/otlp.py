"""`python -m shared.telemetry.otlp`: takes spans and metrics as lines on standard input, and exports them by OTLP.

The only file that imports OpenTelemetry's SDK, in a process of its own: whatever building, encoding and sending costs,
however long a collector takes, no request and no step pays for it. Endpoint, protocol, headers, certificates, timeouts
and the resource's attributes are the standard's variables (`OTEL_*`), read by the SDK itself.

A thread reads; what piles up beyond MOST_LINES while a collector does not answer is dropped and counted. It ends when
its input does, after a last try of LAST_S.
"""

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from shared.telemetry.otlp_metrics import metrics_data
from shared.telemetry.otlp_spans import readable

MOST_LINES = 64  # that wait here
LAST_S = 2.0
TELL_S = 1.0


def exporters(environ: Mapping[str, str]) -> tuple[SpanExporter, MetricExporter]:
    """By `OTEL_EXPORTER_OTLP[_TRACES|_METRICS]_PROTOCOL`: grpc or http/protobuf, which is the standard's default."""
    if _protocol(environ, "TRACES") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans

        spans: SpanExporter = GrpcSpans()
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans

        spans = HttpSpans()
    if _protocol(environ, "METRICS") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics

        return spans, GrpcMetrics()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics

    return spans, HttpMetrics()


def _protocol(environ: Mapping[str, str], signal_name: str) -> str:
    both = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    return (environ.get(f"OTEL_EXPORTER_OTLP_{signal_name}_PROTOCOL") or both or "http/protobuf").strip()


STEPS_BACK = 10  # where processes are short of processors, spans are late or lost rather than tokens


class Inbox:
    """Lines between the thread that reads and the one that exports."""

    def __init__(self) -> None:
        self._lines: deque[dict[str, Any]] = deque()
        self._news = threading.Condition()
        self._ended = False
        self.dropped = 0  # spans

    def read(self, stream: Any) -> None:
        for text in stream:
            fields = orjson.loads(text)
            with self._news:
                if len(self._lines) >= MOST_LINES:
                    self.dropped += len(self._lines.popleft().get("spans", ()))  # the oldest are worth least
                self._lines.append(fields)
                self._news.notify()
        with self._news:
            self._ended = True
            self._news.notify()
        time.sleep(LAST_S)
        os._exit(0)  # a collector that does not answer holds nobody

    def take(self) -> dict[str, Any] | None:
        """The next line; None at the end."""
        with self._news:
            self._news.wait_for(lambda: self._lines or self._ended)
            return self._lines.popleft() if self._lines else None


class Outbox:
    """Sends, and counts what came of it."""

    def __init__(self, spans: SpanExporter, metrics: MetricExporter) -> None:
        self._spans = spans
        self._metrics = metrics
        self._resource = Resource.create({})
        self._counts = {"exported": 0, "failed": 0, "metrics_failed": 0}
        self._told_s = 0.0

    def send(self, fields: Mapping[str, Any], dropped: int) -> None:
        match fields:
            case {"resource": dict(resource)}:
                self._resource = Resource.create(resource)
            case {"spans": list(rows)}:
                done = self._spans.export([readable(row, self._resource) for row in rows])
                self._counts["exported" if done is SpanExportResult.SUCCESS else "failed"] += len(rows)
            case {"metrics": list(families)}:
                done_ = self._metrics.export(metrics_data(families, self._resource, time.time_ns()))
                self._counts["metrics_failed"] += done_ is not MetricExportResult.SUCCESS
        if time.monotonic() - self._told_s >= TELL_S:
            self._told_s = time.monotonic()
            sys.stdout.buffer.write(orjson.dumps(self._counts | {"exporter_dropped": dropped}) + b"\n")
            sys.stdout.buffer.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us; our input ends then
    os.nice(STEPS_BACK)
    inbox, outbox = Inbox(), Outbox(*exporters(os.environ))
    threading.Thread(target=inbox.read, args=(sys.stdin.buffer,), daemon=True).start()
    while (fields := inbox.take()) is not None:
        outbox.send(fields, inbox.dropped)
    os._exit(0)


if __name__ == "__main__":
    main()
