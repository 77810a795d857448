"""Whatever breaks between detokenizer, gateway and client: nothing is lost, nothing comes twice."""

import zlib
from pathlib import Path

import aiohttp
import pytest

from services.gateway.__main__ import leave
from shared.frames import Attach, Frame, encode_frames
from tests.unit.gateway.fakes import a_chat, a_world, start, until
from tests.unit.gateway.streaming import EVENTS, PRELUDE, Streaming, done, event, expected, frames, to


async def test_a_broken_connection_loses_and_doubles_nothing(checkpoint: Path) -> None:
    """The gateway comes back by itself, says where the client stands, and goes on from there."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        assert world.detokenizer.connects == [Attach(world.deps.gateway, {})]
        assert world.detokenizer.tokens == ["Bearer secret"]
        await world.detokenizer.push(*frames(parent, 0, 3))
        await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 3)
        world.detokenizer.cut()
        await until(lambda: len(world.detokenizer.connects) == 2)
        assert world.detokenizer.connects[1] == Attach(world.deps.gateway, {parent: "3"})
        await until(lambda: world.deps.replies.readiness().ready)
        stale = frames(parent, 1, 3)  # as if from the old connection
        await world.detokenizer.push(*stale, *frames(parent, 3, 5), *frames(parent, 3, 5), done(parent, 5))
        assert await stream.text() == expected(5)


async def test_a_new_owner_is_followed_at_once(checkpoint: Path) -> None:
    """Even while the old connection looks alive: a paused process keeps its sockets."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 1))
        await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 1)
        await world.own(0, world.detokenizer.url, "second")
        await world.deps.cluster.poll()
        await until(lambda: len(world.detokenizer.connects) == 2)
        assert world.detokenizer.connects[1].cursors == {parent: "1"}
        await until(lambda: world.detokenizer.connected == 1)
        await world.detokenizer.push(*frames(parent, 1, 2), done(parent, 2))
        assert await stream.text() == expected(2)


async def test_a_slow_client_gets_one_merged_frame(checkpoint: Path) -> None:
    """What is queued for it is dropped; once it reads again, everything behind what it has is asked for."""
    size = 200_000
    async with a_world(checkpoint, mailbox_frames=4) as world:
        asking = start(world.http.post("/v1/chat/completions", json=a_chat(stream=True), headers=EVENTS).__aenter__())
        parent = await world.parent()
        produced = 0
        while not world.deps.replies.statistics()["frames_dropped"]:  # the client reads nothing
            await world.detokenizer.push(*frames(parent, produced, produced + 1, size=size))
            produced += 1
        response = await asking
        read = b""
        while not world.detokenizer.attaches:
            read += await response.content.readany()
        [attach] = world.detokenizer.attaches
        reached = int(attach.cursors[parent])
        assert 0 < reached < produced
        late = frames(parent, produced - 1, produced, size=size)  # was on its way before the question came
        merged = "".join(event(str(i), "x" * size) for i in range(reached + 1, produced + 1))
        await world.detokenizer.push(*late)
        await world.detokenizer.push(Frame(parent, str(produced), merged, after=str(reached)), done(parent, produced))
        read += await response.content.read()
        assert read.decode() == expected(produced, size=size)


async def test_a_slow_client_delays_nobody(checkpoint: Path) -> None:
    """Another reads on, the same stream or its own, while the slow one takes nothing."""
    async with a_world(checkpoint, mailbox_frames=4) as world:
        asking = start(world.http.post("/v1/chat/completions", json=a_chat(stream=True), headers=EVENTS).__aenter__())
        parent = await world.parent()
        produced = 0
        while not world.deps.replies.statistics()["frames_dropped"]:
            await world.detokenizer.push(*frames(parent, produced, produced + 1, size=200_000))
            produced += 1
        beside = start(world.http.get(f"/v1/streams/{parent}?starting_after={produced}"))
        await until(lambda: any(parent not in attach.cursors for attach in world.detokenizer.attaches))
        [reader] = next(attach for attach in world.detokenizer.attaches if parent not in attach.cursors).cursors
        async with Streaming(world) as other:
            parents = {request.parent_id for request in await world.submitted(2)} - {parent}
            await world.detokenizer.push(*frames(parents.pop(), 0, 2))
            await world.detokenizer.push(*to(reader, *frames(parent, produced, produced + 2)))
            await world.detokenizer.push(*to(reader, done(parent, produced + 2)))
            text = await (await beside).text()
            assert text == PRELUDE + event(str(produced + 1)) + event(str(produced + 2)) + "data: [DONE]\n\n"
            await until(lambda: world.deps.replies.statistics()["mailboxes"] == 2)
            other.leave()
        (await asking).close()


async def test_a_client_that_never_reads_is_cut_off(checkpoint: Path) -> None:
    """A full socket may not hold a request for ever."""
    async with a_world(checkpoint, stall_timeout_s=0.05, mailbox_frames=100) as world:
        asking = start(world.http.post("/v1/chat/completions", json=a_chat(stream=True), headers=EVENTS).__aenter__())
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 1, size=30_000_000))
        response = await asking
        await until(lambda: world.deps.admission.statistics()["open"] == 0)
        assert await world.cancelled() == [(parent, "disconnect")]
        response.close()


async def test_an_event_of_any_size_comes_through(checkpoint: Path) -> None:
    """The catch-up of a long answer is far beyond a line reader's usual bounds."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        big = event("1", "x" * 3_000_000)
        data = encode_frames([Frame(parent, "1", big, after=""), done(parent, 1)])
        await world.detokenizer.push_bytes(b": comment\n\n")
        for at in range(0, len(data), 777_777):
            await world.detokenizer.push_bytes(data[at : at + 777_777])
        assert await stream.text() == PRELUDE + big + "data: [DONE]\n\n"


async def test_an_event_that_is_none_costs_only_the_connection(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        for garbage in (b"data: {\n\n", b"data: 5\n\n", b"data: [[1,2,3,4,5,6,7,8,9]]\n\n"):
            seen = len(world.detokenizer.connects)
            await world.detokenizer.push_bytes(garbage)
            await until(lambda seen=seen: len(world.detokenizer.connects) > seen)  # type: ignore[misc]
            await until(lambda: world.deps.replies.readiness().ready and world.detokenizer.connected == 1)
        await world.detokenizer.push(*frames(parent, 0, 2), done(parent, 2))
        assert await stream.text() == expected(2)


async def test_a_request_submitted_while_the_connection_comes_about_is_not_missed(checkpoint: Path) -> None:
    """Whether the connection listed it, was told of it afterwards or both: the detokenizer hears of it."""
    async with a_world(checkpoint) as world:
        world.detokenizer.status = 503
        world.detokenizer.cut()
        await until(lambda: not world.deps.replies.readiness().ready)
        async with Streaming(world) as stream:
            parent = await world.parent()  # the shard has an owner, so it is accepted
            world.detokenizer.status = 200
            await until(lambda: world.deps.replies.readiness().ready)
            asked = [*world.detokenizer.connects[1:], *world.detokenizer.attaches]
            assert any(parent in attach.cursors for attach in asked)
            await world.detokenizer.push(*frames(parent, 0, 1), done(parent, 1))
            assert await stream.text() == expected(1)


async def test_shards_have_connections_of_their_own(checkpoint: Path) -> None:
    """A request is listed at its shard's owner only."""
    async with a_world(checkpoint, shards=3) as world:
        await until(lambda: len(world.detokenizer.connects) == 3)
        async with Streaming(world):
            [request] = await world.submitted()
            assert request.shard == zlib.crc32(request.parent_id.encode()) % 3
            world.detokenizer.cut()
            await until(lambda: len(world.detokenizer.connects) == 6)
            listing = [attach for attach in world.detokenizer.connects[3:] if attach.cursors]
            assert [attach.cursors for attach in listing] == [{request.parent_id: ""}]


async def test_stopping_ends_what_runs_and_takes_nothing_new(checkpoint: Path) -> None:
    """Within its grace a stream comes to its end; meanwhile the gateway is not ready and refuses."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 1))
        await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 1)
        leaving = start(leave(world.runner, world.deps))
        await until(lambda: not world.deps.readiness().ready)
        async with aiohttp.ClientSession() as other:
            with pytest.raises(aiohttp.ClientConnectorError):
                await other.get(world.url + "/health")
        await world.detokenizer.push(*frames(parent, 1, 2), done(parent, 2))
        assert await stream.text() == expected(2)
        await leaving
        assert await world.cancelled() == []


async def test_what_outlasts_the_grace_is_left_to_go_on_elsewhere(checkpoint: Path) -> None:
    """A gateway that stops is no client that leaves: nothing is cancelled, another gateway can serve the stream."""
    async with a_world(checkpoint, grace_s=0.01) as world, Streaming(world) as stream:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 1))
        await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 1)
        await leave(world.runner, world.deps)
        with pytest.raises(aiohttp.ClientError):
            await stream.result()
        assert await world.cancelled() == []
