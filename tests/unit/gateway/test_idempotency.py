"""`Idempotency-Key`: one call, one generation, whatever is repeated and wherever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.gateway.app import build_app
from services.gateway.compose import opened
from shared import ops
from shared.bus import Settled
from shared.frames import Frame, parent_of
from shared.messages import GenerateRequest, Outcome
from shared.types import FinishReason
from tests.unit.gateway.fakes import World, a_chat, a_world, error_of, start, until
from tests.unit.gateway.streaming import Streaming, done, expected, frames, to

KEY = {"Idempotency-Key": "call-1"}


async def chat(world: World, headers: dict[str, str] = KEY, **fields: Any) -> aiohttp.ClientResponse:
    return await world.http.post("/v1/chat/completions", json=a_chat(**fields), headers=headers)


async def all_requests(world: World) -> list[GenerateRequest]:
    return list((await world.bus.snapshot(0)).entries.values())


async def settle(world: World, request: GenerateRequest, reason: FinishReason) -> None:
    """As the owner of its shard does when it has ended."""
    version = await world.bus.claim(0, "test")
    [entry] = [entry for entry, one in (await world.bus.snapshot(0)).entries.items() if one.id == request.id]
    await world.bus.settle(0, version, [Settled(entry, Outcome(request, reason, ""))])


@asynccontextmanager
async def a_second_gateway(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    """On the same bus."""
    async with opened(world.deps.config, world.bus) as deps:
        runner, port = await ops.serve(build_app(deps), "127.0.0.1", 0)
        await until(lambda: deps.readiness().ready)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            yield http
        await runner.cleanup()


async def test_a_repeated_call_reads_the_stream_that_runs(checkpoint: Path) -> None:
    """From its beginning, beside the first, under the same id; one request is on the bus."""
    async with a_world(checkpoint) as world, Streaming(world, **KEY) as first:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 2))
        async with Streaming(world, **KEY) as again:
            await until(lambda: bool(world.detokenizer.attaches))
            [(reader, cursor)] = world.detokenizer.attaches[0].cursors.items()
            assert (parent_of(reader), cursor) == (parent, "")
            await world.detokenizer.push(*to(reader, *frames(parent, 0, 3), done(parent, 3)))
            await world.detokenizer.push(*frames(parent, 2, 3), done(parent, 3))
            assert await again.text() == expected(3) == await first.text()
            assert (await again.result())[1]["X-Request-Id"] == parent
        assert len(await all_requests(world)) == 1


async def test_a_call_is_repeated_after_its_client_was_cut(checkpoint: Path) -> None:
    """The `openai` client closes its connection and asks again: nothing was cancelled meanwhile."""
    async with a_world(checkpoint) as world:
        async with Streaming(world, **KEY) as first:
            parent = await world.parent()
            first.leave()
            await until(lambda: world.detokenizer.left == [parent])
        asking = start(chat(world, stream=True))
        await until(lambda: bool(world.detokenizer.attaches))
        [reader] = world.detokenizer.attaches[0].cursors
        await world.detokenizer.push(*to(reader, done(parent, 0)), *to(reader, Frame(parent, "", "", 200, True, "")))
        await (await asking).text()
        assert await world.cancelled() == []
        assert len(await all_requests(world)) == 1


@pytest.mark.parametrize("streams", [True, False])
async def test_another_gateway_knows_the_call_and_replays_what_has_ended(checkpoint: Path, streams: bool) -> None:
    """It needs no prompt work for that, and says whose answer it is."""
    async with a_world(checkpoint) as world, a_second_gateway(world) as elsewhere:
        asking = start(chat(world, stream=streams))
        [request] = await world.submitted()
        await settle(world, request, FinishReason.STOP)
        whole = Frame(request.parent_id, "9", '{"whole": "body"}', last=True, after="")
        again = start(elsewhere.post("/v1/chat/completions", json=a_chat(stream=streams), headers=KEY))
        await until(lambda: bool(world.detokenizer.attaches))
        [reader] = world.detokenizer.attaches[0].cursors
        await world.detokenizer.push(*to(reader, whole))
        response = await again
        assert (response.status, response.headers["X-Request-Id"]) == (200, request.parent_id)
        assert await response.json() == {"whole": "body"}
        asking.cancel()
        assert await all_requests(world) == []


async def test_of_many_calls_at_once_one_is_queued(checkpoint: Path) -> None:
    """Those that lose the race read what the winner started."""
    async with a_world(checkpoint) as world, a_second_gateway(world) as elsewhere:
        path = "/v1/chat/completions"
        asking = [start(http.post(path, json=a_chat(), headers=KEY)) for http in (world.http, elsewhere) * 4]
        await until(lambda: sum(len(attach.cursors) for attach in world.detokenizer.attaches) == 7)
        [request] = await all_requests(world)
        readers = {reader for attach in world.detokenizer.attaches for reader in attach.cursors}
        assert {parent_of(reader) for reader in readers} == {request.parent_id}
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)


@pytest.mark.parametrize(
    "fields", [{"temperature": 0.5}, {"stream": True}, {"messages": [{"role": "user", "content": "ho"}]}]
)
async def test_another_body_under_the_key_is_refused(checkpoint: Path, fields: dict[str, Any]) -> None:
    """With 422 and the name of the header; the call that has the key does not notice."""
    async with a_world(checkpoint) as world:
        asking = start(chat(world))
        [request] = await world.submitted()
        response = await chat(world, **fields)
        assert response.status == 422
        error = await error_of(response)
        assert (error["param"], error["code"]) == ("Idempotency-Key", "idempotency_key_reused")
        assert len(await all_requests(world)) == 1 and await world.cancelled() == []
        await world.detokenizer.push(Frame(request.parent_id, "9", "{}", last=True, after=""))
        assert (await asking).status == 200


async def test_the_same_body_in_other_words_is_the_same(checkpoint: Path) -> None:
    """Null is as good as absent, and the order of fields means nothing."""
    async with a_world(checkpoint) as world:
        asking = [start(chat(world, temperature=0.5, seed=1))]
        await world.submitted()
        asking.append(start(chat(world, seed=1, temperature=0.5, top_p=None)))
        await until(lambda: len(world.detokenizer.attaches) == 1)
        assert len(await all_requests(world)) == 1
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)


async def test_keys_of_different_owners_are_different(checkpoint: Path) -> None:
    """Nobody reads what another API key has asked for, whatever Idempotency-Key they send."""
    async with a_world(checkpoint, api_key="one,two") as world:
        asking = [start(chat(world, KEY | {"Authorization": f"Bearer {key}"})) for key in ("one", "two")]
        requests = await world.submitted(2)
        assert len({request.parent_id for request in requests}) == 2
        assert world.detokenizer.attaches == []
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)


@pytest.mark.parametrize("reason", [FinishReason.CANCEL, FinishReason.ERROR, FinishReason.TIMEOUT])
async def test_a_call_that_failed_is_run_again_by_its_retry(checkpoint: Path, reason: FinishReason) -> None:
    """There is no answer to replay; and of two retries one runs."""
    async with a_world(checkpoint) as world:
        first = start(chat(world))
        [request] = await world.submitted()
        await settle(world, request, reason)
        retries = [start(chat(world)) for _ in range(2)]
        await until(lambda: len(world.detokenizer.attaches) == 1)
        [second] = await all_requests(world)
        [reader] = world.detokenizer.attaches[0].cursors
        assert parent_of(reader) == second.parent_id != request.parent_id
        for task in (first, *retries):
            task.cancel()
        await asyncio.wait([first, *retries])


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "clé"])
async def test_a_key_that_is_none_is_refused_by_name(checkpoint: Path, key: str) -> None:
    async with a_world(checkpoint) as world:
        response = await chat(world, {"Idempotency-Key": key})
        assert response.status == 400
        assert (await error_of(response))["param"] == "Idempotency-Key"
        asking = start(chat(world, {"Idempotency-Key": "x" * 255}))
        assert len(await world.submitted()) == 1
        asking.cancel()
        await asyncio.wait([asking])


async def test_without_the_bus_a_repeated_call_is_told_to_come_again(checkpoint: Path) -> None:
    """Nobody can say whether it runs, so it does not run."""
    async with a_world(checkpoint) as world:
        world.bus.down = True
        response = await chat(world)
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        world.bus.down = False
        assert await all_requests(world) == []
