"""A collector in the test's process: takes OTLP over HTTP and keeps what it was told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Told:
    """One span as the collector has it."""

    service: str
    instance: str
    name: str
    trace: str
    id: str
    parent: str
    start: int  # unix nanoseconds
    end: int
    kind: int  # of the protocol: 1 internal, 2 server, 3 client, 4 producer, 5 consumer
    attributes: dict[str, Any]
    events: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    error: str | None  # its message, if its status is one


@dataclass
class Sink:
    url: str = ""
    spans: list[Told] = field(default_factory=list)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)  # the newest of each name
    status: int = 200  # what exporters are answered
    held: threading.Event = field(default_factory=threading.Event)  # not set: they are not answered at all
    _news: threading.Condition = field(default_factory=threading.Condition)

    def take(self, path: str, body: bytes) -> None:
        with self._news:
            if path.endswith("/v1/traces"):
                self.spans += _spans(ExportTraceServiceRequest.FromString(body))
            else:
                request = MessageToDict(ExportMetricsServiceRequest.FromString(body))
                for of in request["resourceMetrics"]:
                    for scope in of["scopeMetrics"]:
                        self.metrics |= {metric["name"]: metric for metric in scope["metrics"]}
            self._news.notify_all()

    def until(self, condition: Callable[["Sink"], bool]) -> None:
        """Blocks until what was told makes it true; for a thread, or a test without a loop."""
        with self._news:
            assert self._news.wait_for(lambda: condition(self), PATIENCE_S), sorted({one.name for one in self.spans})

    def trace(self, id: str) -> list[Told]:
        return [span for span in self.spans if span.trace == id]


@contextmanager
def sink() -> Iterator[Sink]:
    """On a free port of loopback; its `url` is for OTEL_EXPORTER_OTLP_ENDPOINT."""
    kept = Sink()
    kept.held.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.held.wait()
            if kept.status == 200:
                kept.take(self.path, body)
            self.send_response(kept.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Not on the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kept.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        kept.held.set()
        server.shutdown()
        server.server_close()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Told]:
    for of in request.resource_spans:
        resource = _attributes(of.resource.attributes)
        for scope in of.scope_spans:
            for span in scope.spans:
                yield Told(
                    service=resource["service.name"],
                    instance=resource.get("service.instance.id", ""),
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    kind=span.kind,
                    attributes=_attributes(span.attributes),
                    events=tuple(event.name for event in span.events),
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    error=span.status.message if span.status.code == 2 else None,
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(one) for one in value.array_value.values)
    return getattr(value, kind) if kind else None
