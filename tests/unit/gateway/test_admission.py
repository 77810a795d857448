"""The queue, its bounds and its words, and deadlines, over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.gateway import stream
from shared.errors import DeadlineExceeded
from shared.frames import Frame
from shared.messages import EngineStatus
from tests.unit.gateway.fakes import CONTEXT, LONG_MS, VOCABULARY, World, a_chat, a_world, error_of, start, until
from tests.unit.gateway.streaming import Streaming, done, frames

NEVER_S = 3600.0


async def tell(world: World, **load: Any) -> None:
    """The engine's lease says this, and the gateway has read it."""
    status = EngineStatus(name="e.1", state="ready", max_model_len=CONTEXT, vocab_size=VOCABULARY, **load)
    await world.bus.announce_engine(status, LONG_MS)
    await world.deps.cluster.poll()


async def test_over_the_bound_is_429_with_the_time_to_come_again(checkpoint: Path) -> None:
    """From the drain rate that the engines measure; probes and lists are answered meanwhile."""
    async with a_world(checkpoint, max_queued_requests=2) as world, Streaming(world), Streaming(world):
        await world.submitted(2)
        await tell(world, waiting=2, drain_rate=0.1)
        response = await world.chat()
        assert (response.status, response.headers["Retry-After"]) == (429, "10")
        assert (await error_of(response))["type"] == "rate_limit_error"
        assert response.headers["X-Request-Id"].startswith("req-")
        assert len(await world.submitted(2)) == 2
        for path in ("/health", "/ready", "/v1/models", "/metrics"):
            assert (await world.http.get(path)).status == 200
        assert world.deps.queue.statistics()["refused"] == 1
        await tell(world, running=2, drain_rate=0.1)  # both of them run now
        async with Streaming(world):
            await world.submitted(3)


async def test_a_full_queue_refuses_before_the_body_is_read(checkpoint: Path) -> None:
    """A flood of large bodies costs nothing."""
    async with a_world(checkpoint, max_queued_requests=1) as world, Streaming(world):
        await world.submitted()

        async def endless() -> Any:
            yield b'{"model":'
            await asyncio.sleep(NEVER_S)

        headers = {"Content-Type": "application/json"}
        async with asyncio.timeout(5):
            response = await world.http.post("/v1/chat/completions", data=endless(), headers=headers)
        assert response.status == 429
        assert world.deps.admission.statistics()["open"] == 1


async def test_a_prompt_too_many_is_refused_by_its_tokens(checkpoint: Path) -> None:
    async with a_world(checkpoint, max_queued_tokens=50) as world, Streaming(world):
        await world.submitted()
        response = await world.chat(max_tokens=20)
        assert response.status == 429 and "50 tokens" in (await error_of(response))["message"]


@pytest.mark.parametrize("policy", ["cancel", "continue"])
async def test_who_leaves_the_queue_gives_its_place_back_at_once(checkpoint: Path, policy: str) -> None:
    """A client that goes away while it waits, and one that never got in."""
    async with a_world(checkpoint, max_queued_requests=2) as world:
        async with Streaming(world, **{"X-On-Disconnect": policy}) as waiting:
            await world.submitted()
            assert (await world.chat(temperature=9)).status == 400
            assert world.deps.queue.statistics()["waiting_here"] == 1
            waiting.leave()
            await until(lambda: world.deps.queue.statistics()["waiting_here"] == 0)
        await until(lambda: world.deps.admission.statistics()["open"] == 0)
        assert len(await world.cancelled()) == (policy == "cancel")


async def test_a_failed_submission_leaves_no_place_taken(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        world.bus.down = True
        assert (await world.chat()).status == 503
        assert world.deps.queue.statistics()["waiting_here"] == 0


async def test_a_waiting_stream_says_where_it_stands(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers come with the first news of the queue, comments follow until the first token, and none after it."""
    monkeypatch.setattr(stream, "QUEUED_S", 0.01)
    async with a_world(checkpoint) as world, Streaming(world) as first:
        await world.submitted()
        await tell(world, waiting=1, drain_rate=2.0, queues={"interactive:": 1})
        posting = world.http.post("/v1/chat/completions", json=a_chat(stream=True))
        async with posting as response:
            parent = response.headers["X-Request-Id"]
            assert response.headers["X-Queue-Position"] == "2"
            assert response.headers["X-Queue-Estimate-Seconds"] == "1.0"
            assert await response.content.readline() == b": queued position=2 estimate=1.0s\n"
            await tell(world, waiting=1, running=1, drain_rate=2.0, queues={"interactive:": 1})
            while (line := await response.content.readline()) != b": queued position=1 estimate=0.5s\n":
                assert line in (b"\n", b": queued position=2 estimate=1.0s\n")
            await world.detokenizer.push(*frames(parent, 0, 1))
            while not (line := await response.content.readline()).startswith(b"data:"):
                assert line == b"\n" or line.startswith(b": queued")
            await world.detokenizer.push(*frames(parent, 1, 3), done(parent, 3))
            assert b"queued" not in await response.read()
        assert world.deps.queue.statistics()["waiting_here"] == 1
        first.leave()


async def test_an_answer_in_one_piece_says_where_it_stood(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world, Streaming(world):
        await world.submitted()
        await tell(world, waiting=1, drain_rate=2.0)
        asking = start(world.chat())
        parent = next(r.parent_id for r in await world.submitted(2) if not r.render.stream)
        await world.detokenizer.push(Frame(parent, "2", '{"id": "x"}', last=True, after=""))
        response = await asking
        assert (response.status, response.headers["X-Queue-Position"]) == (200, "2")


async def test_where_nothing_waits_no_word_is_said_of_a_queue(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        asking = start(world.chat())
        [request] = await world.submitted()
        await world.detokenizer.push(Frame(request.parent_id, "2", '{"id": "x"}', last=True, after=""))
        response = await asking
        assert response.headers.get("X-Queue-Position") in (None, "1")  # itself, until the engine says that it runs
        await until(lambda: world.deps.queue.statistics()["waiting_here"] == 0)


async def test_lane_tenant_priority_and_deadline_travel_with_the_request(checkpoint: Path) -> None:
    """The deadline on the bus's clock."""
    async with a_world(checkpoint, request_timeout_s=100.0) as world:
        headers = {"Authorization": "Bearer sk-one", "X-Lane": "batch"}
        before_ms = await world.bus.now_ms()
        async with Streaming(world, **headers):
            [request] = await world.submitted()
            assert (request.lane, request.priority, len(request.tenant)) == ("batch", 0, 12)
            assert request.deadline_ms is not None
            assert before_ms + 99_900 < request.deadline_ms < await world.bus.now_ms() + 100_100
            asking = start(world.chat(timeout=5, priority=2))
            other = next(r for r in await world.submitted(2) if not r.render.stream)
            assert (other.lane, other.priority, other.tenant) == ("batch", 2, "")
            assert other.deadline_ms is not None and other.deadline_ms < await world.bus.now_ms() + 5_100
            asking.cancel()


async def test_a_deadline_that_passed_is_504_and_not_to_be_repeated(checkpoint: Path) -> None:
    """OpenAI's clients would try again on their own; a stream that has begun ends with the error instead."""
    late = DeadlineExceeded("late")
    body = '{"error":{"message":"late","type":"timeout_error","param":null,"code":"deadline_exceeded"}}'
    async with a_world(checkpoint) as world:
        asking = start(world.chat())
        [request] = await world.submitted()
        await world.detokenizer.push(Frame(request.parent_id, "", body, status=late.status, last=True))
        response = await asking
        assert (response.status, response.headers["x-should-retry"]) == (504, "false")
        assert (await error_of(response))["code"] == "deadline_exceeded"
    async with a_world(checkpoint) as world, Streaming(world) as streaming:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 1))
        await world.detokenizer.push(Frame(parent, "", body, status=late.status, last=True))
        assert (await streaming.text()).endswith(f"data: {body}\n\n")


async def test_a_body_that_does_not_come_is_408(checkpoint: Path) -> None:
    """And its slot is free again."""
    async with a_world(checkpoint, body_timeout_s=0.05) as world:

        async def slow() -> Any:
            yield b'{"model":'
            await asyncio.sleep(NEVER_S)

        headers = {"Content-Type": "application/json"}
        async with asyncio.timeout(5):
            response = await world.http.post("/v1/chat/completions", data=slow(), headers=headers)
        assert response.status == 408 and (await error_of(response))["code"] == "body_timeout"
        assert world.deps.admission.statistics()["open"] == 0


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nothing"), ("GET", "/v1/chat/completions"), ("POST", "/v1/completions")]
)
async def test_every_error_has_a_request_id(checkpoint: Path, method: str, path: str) -> None:
    """One of its own for each, for people who compare notes."""
    async with a_world(checkpoint, ready=False) as world:
        ids = [(await world.http.request(method, path)).headers["X-Request-Id"] for _ in range(2)]
        assert len(set(ids)) == 2 and all(id.startswith("req-") for id in ids)


async def test_an_unknown_lane_is_refused_by_name(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        response = await world.http.post("/v1/chat/completions", json=a_chat(), headers={"X-Lane": "fast"})
        assert response.status == 400 and (await error_of(response))["param"] == "X-Lane"


async def test_a_client_that_waits_briefly_for_a_byte_gets_one_in_time(checkpoint: Path) -> None:
    """A comment comes within half of the read timeout that its library tells."""
    async with a_world(checkpoint) as world:
        headers = {"x-stainless-read-timeout": "0.1"}
        async with (
            asyncio.timeout(5),
            world.http.post("/v1/chat/completions", json=a_chat(stream=True), headers=headers) as response,
        ):
            assert (await response.content.readline()).startswith(b":")
