"""The way out of the process, to a collector that speaks OTLP, is slow, refuses, or is not there."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.telemetry import exporter as module
from shared.telemetry.exporter import Exporter, endpoint, wanted
from shared.telemetry.metrics import Metrics
from shared.telemetry.recorder import Recorder
from shared.telemetry.spans import Context, Event, Kind, Span, now_ns
from tests.otlp_sink import Sink, sink

ROOT = Path(__file__).resolve().parents[3]
CONTEXT = Context.new(sampled=True)
RESOURCE = {"service.name": "sluice-test", "service.instance.id": "one"}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    with sink() as kept:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", kept.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        yield kept


def address(collector: Sink) -> tuple[str, int]:
    return endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})


def some_spans() -> list[Span]:
    start, parent = now_ns(), CONTEXT.child()
    links = tuple(CONTEXT.child() for _ in range(130))
    return [
        Span("whole", parent, "", start, start + 5_000_000, {"a": 1, "b": ("x",)}, Kind.SERVER, links=links),
        Span("part", CONTEXT, parent.span, start, start + 1, events=(Event("seen", start),), error="broken"),
    ]


async def test_spans_reach_a_collector_as_they_are(collector: Sink) -> None:
    """Wall time, parent, kind, attributes, events, status and the resource; links up to the SDK's limit, and said."""
    recorder = Recorder("test", exports=True)
    exporting = asyncio.get_running_loop().create_task(Exporter(recorder, None, RESOURCE, address(collector)).run())
    recorder.finish(some_spans(), sampled=True)
    await asyncio.to_thread(collector.until, lambda told: len(told.spans) == 2)
    exporting.cancel()
    whole, part = sorted(collector.spans, key=lambda span: span.name, reverse=True)
    assert (whole.service, whole.instance, whole.kind, whole.end - whole.start) == ("sluice-test", "one", 2, 5_000_000)
    assert abs(whole.start - time.time_ns()) < 30 * 10**9
    assert whole.attributes == {"a": 1, "b": ("x",), "sluice.links_cut": 2} and len(whole.links) == 128
    assert (part.parent, part.trace, part.events, part.error) == (whole.id, CONTEXT.trace, ("seen",), "broken")


async def test_what_was_recorded_last_goes_out_at_the_end(collector: Sink) -> None:
    recorder = Recorder("test", exports=True)
    exporter = Exporter(recorder, None, RESOURCE, address(collector))
    exporting = asyncio.get_running_loop().create_task(exporter.run())
    while not exporter.statistics()["starts"]:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)  # the process is being made; cancelled before that there is nobody to tell
    recorder.finish(some_spans(), sampled=True)
    exporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exporting
    assert len(collector.spans) == 2


async def test_metrics_reach_it_with_their_kinds_and_names(collector: Sink) -> None:
    metrics = Metrics("sluice_test", lambda: {"queue": {"length": 3}})
    metrics.counter("things", "Things", ["kind"]).labels("red").inc(2)
    metrics.histogram("gen_ai_server_time_to_first_token_seconds", "First", buckets=(0.1, 1.0)).observe(0.5)
    exporter = Exporter(Recorder("test", exports=True), metrics.families, RESOURCE, address(collector), metrics_s=0.01)
    exporting = asyncio.get_running_loop().create_task(exporter.run())
    await asyncio.to_thread(collector.until, lambda told: "sluice_test_queue_length" in told.metrics)
    exporting.cancel()
    told = collector.metrics
    assert told["sluice_test_queue_length"]["gauge"]["dataPoints"][0]["asDouble"] == 3
    (things,) = told["sluice_test_things"]["sum"]["dataPoints"]
    assert (things["asDouble"], things["attributes"][0]["value"]["stringValue"]) == (2, "red")
    (first,) = told["gen_ai.server.time_to_first_token"]["histogram"]["dataPoints"]
    assert (first["bucketCounts"], first["explicitBounds"], first["sum"]) == (["0", "1", "0"], [0.1, 1.0], 0.5)
    assert told["gen_ai.server.time_to_first_token"]["unit"] == "s"


@pytest.mark.parametrize("status, answers", [(503, True), (200, False)])
async def test_a_collector_that_fails_or_hangs_costs_only_the_data(
    collector: Sink, monkeypatch: pytest.MonkeyPatch, status: int, answers: bool
) -> None:
    """Whoever records goes on at once; what is lost is counted, here or by the exporter's process."""
    monkeypatch.setattr(module, "PIPE_BYTES", 50_000)
    collector.status = status
    if not answers:
        collector.held.clear()
    recorder = Recorder("test", exports=True)
    exporter = Exporter(recorder, None, RESOURCE, address(collector))
    exporting = asyncio.get_running_loop().create_task(exporter.run())
    slowest = 0.0

    def lost() -> int:
        told = exporter.statistics()
        return recorder.statistics()["dropped"] + told.get("exporter_dropped", 0) + told.get("failed", 0)

    async with asyncio.timeout(20):
        while not lost():
            before = now_ns()
            recorder.finish(some_spans() * 50, sampled=True)
            slowest = max(slowest, (now_ns() - before) / 1e9)
            await asyncio.sleep(0.01)
    exporting.cancel()
    assert slowest < 0.5
    assert not collector.spans


async def test_an_exporter_that_dies_is_started_again(collector: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_S", 0.01)
    recorder = Recorder("test", exports=True)
    exporter = Exporter(recorder, None, RESOURCE, address(collector))
    exporting = asyncio.get_running_loop().create_task(exporter.run())
    async with asyncio.timeout(20):
        while exporter._process is None:
            await asyncio.sleep(0.01)
        exporter._process.kill()
        while exporter.statistics()["starts"] < 2:
            await asyncio.sleep(0.01)
    recorder.finish(some_spans(), sampled=True)
    await asyncio.to_thread(collector.until, lambda told: len(told.spans) == 2)
    exporting.cancel()


async def test_without_a_collector_there_is_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is dropped and counted; when somebody listens, the process is started."""
    monkeypatch.setattr(module, "KNOCK_S", 0.02)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    recorder = Recorder("test", exports=True)
    exporter = Exporter(recorder, None, RESOURCE, ("127.0.0.1", port))
    exporting = asyncio.get_running_loop().create_task(exporter.run())
    recorder.finish(some_spans(), sampled=True)
    async with asyncio.timeout(20):
        while not recorder.statistics()["dropped"]:
            await asyncio.sleep(0.01)
        assert exporter.statistics()["starts"] == 0
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        while not exporter.statistics()["starts"]:
            await asyncio.sleep(0.01)
    exporting.cancel()
    await asyncio.wait([exporting])
    server.close()


@pytest.mark.parametrize(
    "environ, address",
    [
        ({}, ("localhost", 4318)),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("localhost", 4317)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, ("collector", 4318)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("collector", 4317)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://o.example/v1/traces"}, ("o.example", 443)),
    ],
)
def test_the_collectors_address_is_found(environ: dict[str, str], address: tuple[str, int]) -> None:
    assert endpoint(environ) == address


@pytest.mark.parametrize(
    "environ, traces, metrics",
    [
        ({}, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_METRICS_EXPORTER": "none"}, True, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, False, False),
    ],
)
def test_the_standards_variables_say_what_is_exported(environ: dict[str, str], traces: bool, metrics: bool) -> None:
    assert wanted(environ) == (traces, metrics)


def test_the_sdk_is_imported_where_it_exports_and_nowhere_else() -> None:
    """It costs memory and time at start: requests are served without it."""
    program = "import sys, shared.telemetry.service, shared.ops; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
