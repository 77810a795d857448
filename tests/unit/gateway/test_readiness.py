"""When the gateway says that it can serve, and what it answers while it cannot."""

import asyncio
from pathlib import Path

import pytest

from services.gateway.status import Cluster
from shared.errors import Unavailable
from shared.memory_bus import MemoryBus
from shared.messages import EngineStatus
from tests.unit.gateway.fakes import CONTEXT, LONG_MS, MODEL, a_world, error_of, own, until


async def test_ready_says_what_is_missing_until_a_request_would_be_served(checkpoint: Path) -> None:
    """Engine, owner of the shard and the connection to it; requests get 503 and a Retry-After meanwhile."""
    async with a_world(checkpoint, ready=False) as world:

        async def state() -> tuple[int, str, float | None]:
            response = await world.http.get("/ready")
            body = await response.json()
            return response.status, body["message"], body["progress"]

        await until(lambda: world.deps.cluster.readiness().message == "no engine is there")
        await until(lambda: world.deps.model.readiness().ready)
        assert await state() == (503, "no engine is there", None)
        loading = EngineStatus(name="e.1", state="loading", message="reading weights", progress=0.5)
        await world.bus.announce_engine(loading, LONG_MS)
        await world.deps.cluster.poll()
        assert await state() == (503, "engine: reading weights", 0.5)
        response = await world.chat()
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert "reading weights" in (await error_of(response))["message"]
        ready = EngineStatus(name="e.1", state="ready", max_model_len=CONTEXT, vocab_size=300)
        await world.bus.announce_engine(ready, LONG_MS)
        await world.deps.cluster.poll()
        assert await state() == (503, "no detokenizer owns shard 0", None)
        await world.own(0, "http://127.0.0.1:9", "nobody there")
        await world.deps.cluster.poll()
        assert (await state())[:2] == (503, "connecting to the detokenizer of shard 0")
        await world.own(0, world.detokenizer.url, "here")
        await world.deps.cluster.poll()
        await until(lambda: world.deps.readiness().ready)
        assert await state() == (200, "ready", None)


async def test_without_the_bus_a_request_is_answered_503(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        world.bus.down = True
        response = await world.chat()  # before the next poll: the submission finds out
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        await world.deps.cluster.poll()
        assert (await world.http.get("/ready")).status == 503
        assert (await world.http.get("/health")).status == 200
        assert (await world.chat()).status == 503
        world.bus.down = False
        await world.deps.cluster.poll()
        assert (await world.http.get("/ready")).status == 200
        assert world.deps.admission.statistics()["open"] == 0


async def test_the_limits_are_those_of_the_smallest_engine(checkpoint: Path) -> None:
    """Any engine may take the request."""
    async with a_world(checkpoint) as world:
        small = EngineStatus(name="e.2", state="ready", max_model_len=10, vocab_size=290)
        await world.bus.announce_engine(small, LONG_MS)
        await world.deps.cluster.poll()
        assert (await world.http.post("/v1/completions", json={"model": MODEL, "prompt": [290]})).status == 400
        assert "10 tokens" in (await error_of(await world.chat(max_tokens=9)))["message"]


async def test_nobody_is_refused_for_what_was_known_a_moment_ago() -> None:
    """Another gateway has seen the owner and let its clients in; this one polls later. Many who ask share a look."""
    bus = MemoryBus()
    cluster = Cluster(bus, 1, lambda _: None)
    with pytest.raises(Unavailable, match="no engine is there"):
        await cluster.limits()
    ready = EngineStatus(name="e.1", state="ready", max_model_len=CONTEXT, vocab_size=300)
    await bus.announce_engine(ready, LONG_MS)
    with pytest.raises(Unavailable, match="no detokenizer owns shard 0"):
        await cluster.limits()
    await own(bus, 0, "http://127.0.0.1:9", "here")
    looks = cluster.statistics()["polls"]
    found = await asyncio.gather(*(cluster.limits() for _ in range(100)))
    assert {one.max_model_len for one in found} == {CONTEXT}
    assert cluster.statistics()["polls"] == looks + 1
    await cluster.limits()
    assert cluster.statistics()["polls"] == looks + 1
