"""One trace for each request across all processes, as a collector has it: the whole tree, with no hole in its time."""

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import tables
from tests.e2e.stack import Stack
from tests.otlp_sink import Sink, Told, sink

SERVER, CONSUMER, PRODUCER, INTERNAL = 2, 5, 4, 1
TREE = {  # name: (service, parent's name, kind)
    "POST /v1/chat/completions": ("sluice-gateway", "", SERVER),
    "validate": ("sluice-gateway", "POST /v1/chat/completions", INTERNAL),
    "tokenize": ("sluice-gateway", "POST /v1/chat/completions", INTERNAL),
    "send requests": ("sluice-gateway", "POST /v1/chat/completions", PRODUCER),
    "relay": ("sluice-gateway", "POST /v1/chat/completions", INTERNAL),
    "generate": ("sluice-engine", "send requests", CONSUMER),
    "queue": ("sluice-engine", "generate", INTERNAL),
    "prefill": ("sluice-engine", "generate", INTERNAL),
    "decode": ("sluice-engine", "generate", INTERNAL),
    "detokenize": ("sluice-detokenizer", "generate", INTERNAL),
}
KINDS = {"server": SERVER, "consumer": CONSUMER, "producer": PRODUCER, "internal": INTERNAL}
LEAVES = ("validate", "tokenize", "send requests", "queue", "prefill", "decode", "hand-over")
ROOT = "POST /v1/chat/completions"
ENGINE_ARGS = "--sim-tokens-per-second 100 --trace-steps 1"


@pytest.fixture(scope="module")
def collector() -> Iterator[Sink]:
    with sink() as kept:
        yield kept


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Sink) -> Iterator[Stack]:
    before = dict(os.environ)
    os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRIC_EXPORT_INTERVAL": "500"}
    try:
        flags = ("--device", "sim", "--engines", "2", "--engine-args", ENGINE_ARGS)
        with Stack(tmp_path_factory.mktemp("run"), *flags) as running:
            yield running
    finally:
        os.environ.clear()
        os.environ.update(before)


def ask(stack: Stack, **fields: Any) -> Any:
    """An open answer; its `traceparent` names the trace."""
    body = {"model": "sluice-demo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 60} | fields
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{stack.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    return urllib.request.urlopen(request, timeout=60)


def told(collector: Sink, traceparent: str, *names: str) -> dict[str, list[Told]]:
    """The spans of this trace by name, once there are these."""
    trace = traceparent.split("-")[1]
    wanted = Counter(names)
    collector.until(lambda kept: not wanted - Counter(span.name for span in kept.trace(trace)))
    found: dict[str, list[Told]] = {}
    for span in collector.trace(trace):
        found.setdefault(span.name, []).append(span)
    return found


def check_tree(spans: dict[str, list[Told]]) -> None:
    by_id = {span.id: span for group in spans.values() for span in group}
    for name, group in spans.items():
        if name == "hand-over" or name not in TREE:
            continue
        service, parent, kind = TREE[name]
        for span in group:
            above = by_id[span.parent].name if span.parent else ""
            interrupted = span.attributes.get("sluice.interrupted", False)
            assert (span.service, above, span.kind) == ("sluice-detokenizer" if interrupted else service, parent, kind)


def accounted(spans: dict[str, list[Told]]) -> float:
    """The share of the root's time that lies in a leaf; relaying counts only behind the last token."""
    (root,) = spans[ROOT]
    pieces = [(span.start, span.end) for name in LEAVES for span in spans.get(name, ())]
    last = max(end for _, end in pieces)
    pieces += [(max(last, span.start), span.end) for name in ("detokenize", "relay") for span in spans.get(name, ())]
    covered, at = 0, root.start
    for start, end in sorted(pieces):
        start, end = max(start, at), min(end, root.end)
        if end > start:
            covered, at = covered + end - start, end
    return covered / (root.end - root.start)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_is_one_tree_over_three_services(stack: Stack, collector: Sink, stream: bool) -> None:
    with ask(stack, stream=stream) as answer:
        traceparent = answer.headers["traceparent"]
        answer.read()
    spans = told(collector, traceparent, *TREE)
    check_tree(spans)
    assert {name: len(group) for name, group in spans.items()} == dict.fromkeys(TREE, 1)
    assert accounted(spans) >= 0.95
    (root,), (generate,), (decode,) = spans[ROOT], spans["generate"], spans["decode"]
    assert root.error is None and root.attributes["gen_ai.usage.output_tokens"] == 60
    assert generate.attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert (decode.events[0], decode.events[-1]) == ("first token", "last token")


def test_steps_and_requests_name_each_other(stack: Stack, collector: Sink) -> None:
    """Each step is a root of its own; what links to a request is linked by it."""
    with ask(stack) as answer:
        traceparent = answer.headers["traceparent"]
        answer.read()
    (generate,) = told(collector, traceparent, "generate")["generate"]
    linked = {trace for trace, _ in generate.links}
    collector.until(lambda kept: linked <= {span.trace for span in kept.spans if span.name == "step"})
    steps = [span for span in collector.spans if span.trace in linked]
    assert len(steps) >= 59 and all(step.parent == "" and step.name == "step" for step in steps)
    assert all((generate.trace, generate.id) in step.links for step in steps)
    assert {"sluice.rows", "sluice.device_us", "sluice.idle_us"} <= steps[0].attributes.keys()


def test_a_client_that_goes_leaves_a_whole_trace(stack: Stack, collector: Sink) -> None:
    answer = ask(stack, stream=True, max_tokens=500)
    traceparent = answer.headers["traceparent"]
    answer.readline()
    answer.close()
    spans = told(collector, traceparent, ROOT, "generate", "decode", "detokenize")
    check_tree(spans)
    assert spans["generate"][0].attributes["gen_ai.response.finish_reasons"] == ("cancel",)
    assert accounted(spans) >= 0.95


def test_a_request_that_is_refused_has_a_span_that_says_so(stack: Stack, collector: Sink) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(stack, temperature=9)
    refused.value.close()
    spans = told(collector, refused.value.headers["traceparent"], ROOT, "validate")
    (root,) = spans[ROOT]
    assert root.attributes["http.response.status_code"] == 400 and root.attributes["error.type"]


def test_a_clients_own_trace_goes_on(stack: Stack, collector: Sink) -> None:
    """W3C context in: its trace, its span as the parent; not sampled means not exported."""
    ours = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = urllib.request.Request(f"{stack.url}/v1/models", headers={"traceparent": ours})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["traceparent"].split("-")[1] == ours.split("-")[1]
    spans = told(collector, ours, "GET /v1/models")
    assert spans["GET /v1/models"][0].parent == "b7ad6b7169203331"


def test_metrics_come_by_the_same_way(stack: Stack, collector: Sink) -> None:
    names = {"gen_ai.server.request.duration", "sluice_engine_device_idle_seconds", "sluice_detokenizer_lag_seconds"}
    collector.until(lambda kept: names <= kept.metrics.keys())


async def test_an_engine_that_is_killed_leaves_one_whole_tree(stack: Stack, collector: Sink) -> None:
    """What it could not tell is told by who buried it: its part, and the hand-over to the next."""
    answer = await asyncio.to_thread(ask, stack, stream=True, max_tokens=300)
    traceparent = answer.headers["traceparent"]
    await asyncio.to_thread(answer.readline)
    for engine in stack.all_of("engine"):
        held = stack.metrics(f"engine-{engine.cmdline()[engine.cmdline().index('--engine-name') + 1][-1]}")
        if held["sluice_engine_ledger_held"]:
            engine.kill()
    await asyncio.to_thread(answer.read)
    spans = await asyncio.to_thread(told, collector, traceparent, *TREE, "generate", "hand-over")
    check_tree(spans)
    dead, alive = sorted(spans["generate"], key=lambda span: span.start)
    assert dead.attributes["sluice.interrupted"] and dead.error and dead.service == "sluice-detokenizer"
    assert dead.attributes["sluice.attempt"] + 1 == alive.attributes["sluice.attempt"]
    (moved,) = spans["hand-over"]
    assert moved.attributes["sluice.cause"] == "death" and moved.attributes["sluice.tokens"] > 0
    assert spans[ROOT][0].attributes["gen_ai.usage.output_tokens"] == 300


def test_the_documented_spans_are_those_of_this_run(stack: Stack, collector: Sink) -> None:
    """With their kinds, parents and attributes. `settle` is told only of a bus that is slow."""
    with ask(stack, stream=True, max_tokens=500) as answer:
        answer.readline()
        stream, cancelled = f"{stack.url}/v1/streams/{answer.headers['X-Request-Id']}", b""
        with urllib.request.urlopen(f"{stream}/cancel", cancelled, timeout=60) as done:
            told(collector, done.headers["traceparent"], "send cancel")
    with urllib.request.urlopen(stream, timeout=60) as again:
        again.read()
        told(collector, again.headers["traceparent"], "attach")
    documented = {
        (service, name): row
        for row in tables.rows("docs/telemetry.md", "Spans")
        for service, name in [(row[0], *tables.names(row[1]))]
    }
    spans, met = list(collector.spans), set()
    names = {span.id: documented_name(span) for span in spans}
    for span in spans:
        key = span.service.removeprefix("sluice-"), names[span.id]
        _, _, kind, parent, attributes = documented[key]
        assert KINDS[kind] == span.kind, key
        assert names.get(span.parent, "client") in tables.names(parent) if span.parent else parent in ("", "`client`")
        assert span.attributes.keys() <= tables.names(attributes), key
        met.add(key)
    assert documented.keys() - met == {("detokenizer", "settle")}


def documented_name(span: Told) -> str:
    return "METHOD ROUTE" if span.kind == SERVER else span.name
