"""What requests tell of themselves: whole trees, whatever becomes of the request, and the metrics with them."""

import asyncio
import time
from pathlib import Path

import pytest

from services.gateway.trace import MOST_EVENTS, STALL_NS, Trace
from shared.frames import Frame
from shared.telemetry.spans import Context, Kind, Span, now_ns, request_digest
from tests.unit.gateway.fakes import World, a_chat, a_world, start, until
from tests.unit.gateway.streaming import EVENTS, Streaming, done, event, frames, to

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CHAT = "POST /v1/chat/completions"


async def traced(world: World, root: str = CHAT) -> dict[str, Span]:
    """The spans of the newest trace with such a root, by name, once it has ended."""

    def found() -> list[Span]:
        spans = world.deps.telemetry.recorder.since(0)
        ended = [s for s in spans if s.name == root and "http.response.status_code" in s.attributes]
        return [s for s in spans if ended and s.context.trace == ended[-1].context.trace]

    await until(lambda: bool(found()))
    return {span.name: span for span in found()}


def samples(world: World) -> dict[str, float]:
    text = world.deps.telemetry.metrics.exposition("")[0].decode()
    return {
        key: float(value) for key, _, value in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
    }


async def test_a_stream_is_one_tree_without_holes_under_the_clients_context(checkpoint: Path) -> None:
    """Each phase begins where the last ended; the bus gets the context of the sending, the client that of the root."""
    before_ms = time.time() * 1000
    async with a_world(checkpoint) as world:
        async with Streaming(world, traceparent=f"00-{TRACE}-{PARENT}-01") as stream:
            [request] = await world.submitted()
            parent = request.parent_id
            await world.detokenizer.push(*frames(parent, 0, 3))
            await world.detokenizer.push(Frame(parent, "4", event("4") + "data: [DONE]\n\n", last=True, after="3"))
            _, headers, _ = await stream.result()
        tree = await traced(world)
        assert list(tree) == ["validate", "tokenize", "send requests", "relay", CHAT]
        root, validate, tokenize, send, relay = tree[CHAT], *list(tree.values())[:4]
        assert (root.context.trace, root.parent, root.kind, root.error) == (TRACE, PARENT, Kind.SERVER, "")
        assert headers["traceparent"] == str(root.context) and request.traceparent == str(send.context)
        assert all(span.parent == root.context.span for span in (validate, tokenize, send, relay))
        assert validate.start_ns == root.start_ns and validate.end_ns == tokenize.start_ns
        assert tokenize.end_ns == send.start_ns and send.end_ns <= relay.start_ns <= relay.end_ns <= root.end_ns
        assert before_ms <= request.sent_ms <= time.time() * 1000
        assert send.kind is Kind.PRODUCER and send.attributes["messaging.destination.name"] == "requests:interactive"
        assert relay.attributes == {
            "sluice.frames": 4,
            "sluice.bytes": relay.attributes["sluice.bytes"],
            "sluice.stalls": 0,
        }
        said = root.attributes
        assert (said["http.route"], said["http.response.status_code"]) == ("/v1/chat/completions", 200)
        assert (said["gen_ai.operation.name"], said["gen_ai.request.temperature"]) == ("chat", 0.5)
        assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (
            request.render.prompt_tokens,
            3,
        )
        assert 0 < float(str(said["gen_ai.response.time_to_first_chunk"])) < 10 and "error.type" not in said
        assert said["sluice.request"] == request_digest(parent)
        told = samples(world)
        names = '{gen_ai_operation_name="chat",gen_ai_provider_name="sluice",gen_ai_request_model="tiny"}'
        assert told[f"gen_ai_server_time_to_first_token_seconds_count{names}"] == 1
        assert told[f"gen_ai_server_time_per_output_token_seconds_count{names}"] == 1
        assert told['sluice_gateway_requests_total{route="/v1/chat/completions",status="200"}'] == 1
        phases = ("validate", "tokenize", "send", "relay")
        assert all(told[f'sluice_gateway_phase_seconds_count{{phase="{phase}"}}'] == 1 for phase in phases)


async def test_a_request_whose_trace_is_none_gets_a_new_one(checkpoint: Path) -> None:
    """Also what is too long; and the client's own word for being sampled is obeyed."""
    async with a_world(checkpoint) as world:
        seen = set()
        for given in ("00-" + "0" * 32 + f"-{PARENT}-01", "x" * 5000, f"00-{TRACE}-{PARENT}-00"):
            answer = await world.http.get("/v1/models", headers={"traceparent": given})
            context = Context.parse(answer.headers["traceparent"])
            assert context and context.sampled == (TRACE not in given)
            seen.add(context.trace)
        assert len(seen) == 3 and TRACE in seen


@pytest.mark.parametrize(
    ("method", "path", "status", "error", "name"),
    [
        ("POST", "/v1/chat/completions", 400, "missing_required_parameter", CHAT),
        ("GET", "/v1/nothing", 404, "unknown_url", "GET"),
        ("PATCH", "/v1/models", 405, "method_not_allowed", "PATCH"),
        ("GET", "/v1/streams/x", 404, "stream_not_found", "GET /v1/streams/{id}"),
    ],
)
async def test_a_refusal_is_told_too(
    checkpoint: Path, method: str, path: str, status: int, error: str, name: str
) -> None:
    """The client's own fault is no error of the server's span, but named in it and in the metrics."""
    async with a_world(checkpoint) as world:
        answer = await world.http.request(method, path, json={} if method == "POST" else None)
        assert answer.status == status and "traceparent" in answer.headers
        tree = await traced(world, name)
        assert list(tree) == ["validate", name]
        assert (tree[name].attributes["error.type"], tree[name].error) == (error, "")
        assert tree[name].attributes["http.response.status_code"] == status


async def test_no_engine_is_the_servers_error_and_a_missing_key_is_told(checkpoint: Path) -> None:
    async with a_world(checkpoint, ready=False, api_key="k") as world:
        assert (await world.http.get("/v1/models")).status == 401
        tree = await traced(world, "GET /v1/models")
        assert tree["GET /v1/models"].attributes["error.type"] == "invalid_api_key"
        await until(lambda: world.deps.model.readiness().ready)
        bearer = {"Authorization": "Bearer k"}
        assert (await world.http.post("/v1/chat/completions", json=a_chat(), headers=bearer)).status == 503
        tree = await traced(world)
        assert tree[CHAT].error == tree[CHAT].attributes["error.type"] == "service_unavailable"
        names = '{error_type="service_unavailable",gen_ai_operation_name="chat",gen_ai_provider_name="sluice"'
        assert any(key.startswith(f"gen_ai_server_request_duration_seconds_count{names}") for key in samples(world))


async def test_a_client_that_leaves_ends_its_trace_with_the_cancel(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        async with Streaming(world) as stream:
            parent = await world.parent()
            await world.detokenizer.push(*frames(parent, 0, 1))
            await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 1)
            stream.leave()
            tree = await traced(world)
        assert list(tree) == ["validate", "tokenize", "send requests", "relay", "send cancel", CHAT]
        assert tree["relay"].end_ns == tree["send cancel"].start_ns
        said = tree[CHAT].attributes
        assert (said["http.response.status_code"], said["error.type"]) == (499, "client_closed")
        assert samples(world)['sluice_gateway_cancelled_total{reason="disconnect"}'] == 1


async def test_who_resumes_and_who_cancels_has_a_trace_of_its_own(checkpoint: Path) -> None:
    """They name the request by its digest, and what they read counts as nobody's generation."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 2))
        asking = start(world.http.get(f"/v1/streams/{parent}?starting_after=2"))
        await until(lambda: bool(world.detokenizer.attaches))
        [reader] = world.detokenizer.attaches[0].cursors
        assert (await world.http.post(f"/v1/streams/{parent}/cancel")).status == 204
        await world.detokenizer.push(done(parent, 2), *to(reader, done(parent, 2)))
        await (await asking).text()
        await stream.text()
        resumed = await traced(world, "GET /v1/streams/{id}")
        assert list(resumed) == ["validate", "attach", "relay", "GET /v1/streams/{id}"]
        assert resumed["attach"].end_ns == resumed["relay"].start_ns
        cancelled = await traced(world, "POST /v1/streams/{id}/cancel")
        assert list(cancelled) == ["validate", "send cancel", "POST /v1/streams/{id}/cancel"]
        roots = [resumed["GET /v1/streams/{id}"], cancelled["POST /v1/streams/{id}/cancel"]]
        assert {root.attributes["sluice.request"] for root in roots} == {request_digest(parent)}
        assert len({(await traced(world))[CHAT].context.trace, *(root.context.trace for root in roots)}) == 3
        assert sum(value for key, value in samples(world).items() if "request_duration_seconds_count" in key) == 1


async def test_a_follower_by_idempotency_has_a_trace_of_its_own(checkpoint: Path) -> None:
    key = {"Idempotency-Key": "again", **EVENTS}
    async with a_world(checkpoint) as world, Streaming(world, **key) as first:
        parent = await world.parent()
        async with Streaming(world, **key) as second:
            await until(lambda: bool(world.detokenizer.attaches))
            [reader] = world.detokenizer.attaches[0].cursors
            await world.detokenizer.push(done(parent, 0), *to(reader, done(parent, 0)))
            await world.detokenizer.push(Frame(parent, "1", "data: [DONE]\n\n", last=True, after=""))
            await world.detokenizer.push(*to(reader, Frame(parent, "1", "data: [DONE]\n\n", last=True, after="")))
            await first.text()
            await second.text()
        await until(lambda: len(roots(world)) == 2)
        assert len({root.context.trace for root in roots(world)}) == 2
        assert {root.attributes["sluice.request"] for root in roots(world)} == {request_digest(parent)}
        assert sum("gen_ai.request.model" in root.attributes for root in roots(world)) == 1


def roots(world: World) -> list[Span]:
    spans = world.deps.telemetry.recorder.since(0)
    return [s for s in spans if s.name == CHAT and "http.response.status_code" in s.attributes]


async def test_what_goes_on_is_told_while_it_does(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world, Streaming(world):
        await world.submitted()
        names = [span.name for span in world.deps.telemetry.recorder.since(now_ns() - 10**9)]
        assert names == ["validate", "tokenize", "send requests", CHAT]


async def test_how_long_frames_travel_is_measured_once_an_event(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        stamp = b": w=%.3f\n" % (time.time() * 1000 - 70)
        await world.detokenizer.push_bytes(stamp)
        await world.detokenizer.push(*frames(parent, 0, 5), done(parent, 5))
        await world.detokenizer.push_bytes(b": w=soon\n: alive\n\n")
        await stream.text()
        told = samples(world)
        assert told['sluice_gateway_hop_seconds_count{hop="frames"}'] == 1
        assert 0.07 <= told['sluice_gateway_hop_seconds_sum{hop="frames"}'] < 5


def test_stalled_writes_are_events_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace("POST", "/v1/completions", Context.new(sampled=True), "")
    trace.took(Frame("p", "1", "x", after=""))
    for _ in range(MOST_EVENTS + 5):
        trace.wrote(10, now_ns() - STALL_NS)
    trace.wrote(10, now_ns())
    relay, root = list(trace.spans(now_ns(), 200))[-2:]
    assert (relay.name, len(relay.events), relay.attributes["sluice.stalls"]) == ("relay", MOST_EVENTS, MOST_EVENTS + 5)
    assert relay.events[0].name == "write stalled" and root.parent == ""


def test_a_stream_that_ends_without_its_last_word_has_failed() -> None:
    """The gateway opens no frame, but the last of a good answer says [DONE]."""
    trace = Trace("POST", "/v1/completions", Context.new(sampled=True), "")
    trace.streams = True
    trace.took(Frame("p", "1,2", 'data: {"error": {}}\n\n', last=True, after=""))
    root = list(trace.spans(now_ns(), 200))[-1]
    assert root.error == root.attributes["error.type"] == "stream_error"


async def test_pages_may_read_the_context_of_an_answer(checkpoint: Path) -> None:
    async with a_world(checkpoint, cors_origins="*") as world:
        answer = await world.http.get("/v1/models", headers={"Origin": "https://page.test"})
        assert "traceparent" in answer.headers["Access-Control-Expose-Headers"]
        probe = await world.http.get("/health")
        assert "traceparent" not in probe.headers
        await asyncio.sleep(0)
        assert not any("/health" in span.name for span in world.deps.telemetry.recorder.since(0))
