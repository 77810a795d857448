"""From the detokenizer's frames to the client's bytes: in order, once, unopened; whatever breaks on the way."""

import asyncio
import re
import zlib
from pathlib import Path

import aiohttp
import pytest

from services.gateway.__main__ import leave
from shared.frames import Attach, Frame, encode_frames
from tests.unit.gateway.conftest import EOS
from tests.unit.gateway.fakes import World, a_chat, a_world, until


def event(cursor: str, text: str = "x") -> str:
    return f"id: {cursor}\ndata: {text}\n\n"


def frames(parent: str, first: int, last: int, *, size: int = 1) -> list[Frame]:
    """One frame a token, from the one behind cursor `first` to the one at `last`; 0 is the start."""
    name = ["", *map(str, range(1, last + 1))]
    return [Frame(parent, name[i], event(name[i], "x" * size), after=name[i - 1]) for i in range(first + 1, last + 1)]


def done(parent: str, after: int) -> Frame:
    return Frame(parent, str(after), "data: [DONE]\n\n", last=True, after=str(after))


def expected(last: int, *, size: int = 1) -> str:
    return "".join(event(str(i), "x" * size) for i in range(1, last + 1)) + "data: [DONE]\n\n"


class Streaming:
    """A streaming chat, from its request to its end."""

    def __init__(self, world: World, **headers: str) -> None:
        self._world = world
        self._task = asyncio.get_running_loop().create_task(self._run(headers))

    async def _run(self, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
        path = "/v1/chat/completions"
        async with self._world.http.post(path, json=a_chat(stream=True), headers=headers) as response:
            return response.status, dict(response.headers), await response.text()

    async def __aenter__(self) -> "Streaming":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def result(self) -> tuple[int, dict[str, str], str]:
        async with asyncio.timeout(10):
            return await self._task

    async def text(self) -> str:
        return (await self.result())[2]

    def leave(self) -> None:
        """The client closes its connection."""
        self._task.cancel()


async def test_a_stream_is_the_frames_bytes_and_nothing_else(checkpoint: Path) -> None:
    """The gateway opens no frame: whatever stands in them goes to the client, with headers no proxy holds back."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", parent)
        odd = "id: 1\r\ndata: 🐝 not JSON \x00\n\n"
        await world.detokenizer.push(Frame(parent, "1", odd, after=""))
        await world.detokenizer.push(*frames(parent, 1, 3), done(parent, 3))
        status, headers, text = await stream.result()
        assert (status, text) == (200, odd + event("2") + event("3") + "data: [DONE]\n\n")
        assert headers["Content-Type"].startswith("text/event-stream")
        assert headers["Cache-Control"] == "no-cache, no-transform"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["X-Request-Id"] == parent
        assert await world.cancelled() == []


async def test_each_event_reaches_the_client_at_once(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        asking = asyncio.get_running_loop().create_task(
            world.http.post("/v1/chat/completions", json=a_chat(stream=True)).__aenter__()
        )
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 1))
        response = await asking
        for i in range(1, 4):
            assert (await response.content.readuntil(b"\n\n")).decode() == event(str(i))
            await world.detokenizer.push(*frames(parent, i, i + 1))
        response.close()


async def test_a_whole_answer_is_the_one_frame(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        asking = asyncio.get_running_loop().create_task(world.chat(n=2, seed=7))
        first, second = await world.submitted(2)
        assert (first.sampling.seed, second.sampling.seed) == (7, 8)
        assert first.sampling.stop_ids == (EOS, 299) and first.sampling.temperature == 0.5
        assert first.gateway == world.deps.gateway
        await world.detokenizer.push(Frame(first.parent_id, "3,3", '{"whole": "body"}', last=True, after=""))
        response = await asking
        assert (response.status, response.content_type) == (200, "application/json")
        assert response.headers["X-Request-Id"] == first.parent_id
        assert await response.text() == '{"whole": "body"}'
        assert world.deps.replies.statistics()["mailboxes"] == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_in_the_first_frame_keeps_its_status(checkpoint: Path, stream: bool) -> None:
    """Before anything was sent, a failed request is a plain JSON answer, for streams too."""
    async with a_world(checkpoint) as world:
        asking = asyncio.get_running_loop().create_task(world.chat(stream=stream))
        parent = await world.parent()
        await world.detokenizer.push(Frame(parent, "", '{"error": {"message": "m"}}', status=500, last=True))
        response = await asking
        assert (response.status, response.content_type) == (500, "application/json")
        assert await response.json() == {"error": {"message": "m"}}
        assert await world.cancelled() == []


async def test_silence_is_broken_by_comments_and_a_late_error_is_an_event(checkpoint: Path) -> None:
    """Once the headers had to go, an error can only be told in the stream."""
    async with a_world(checkpoint, keep_alive_s=0.01) as world, Streaming(world) as stream:
        parent = await world.parent()
        await until(lambda: bool(world.deps.admission.statistics()["open"]))
        await asyncio.sleep(0.05)  # the silence
        await world.detokenizer.push(Frame(parent, "", '{"error": {}}', status=500, last=True))
        status, _, text = await stream.result()
        assert status == 200
        comments, _, rest = text.partition("data: ")
        assert set(comments.split("\n\n")) == {": keep-alive", ""}
        assert rest == '{"error": {}}\n\n'


async def test_a_client_that_leaves_cancels_its_request(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 1))
        await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 1)
        stream.leave()
        await until(lambda: world.deps.admission.statistics()["open"] == 0)
        assert await world.cancelled() == [(parent, "disconnect")]
        assert world.deps.replies.statistics()["mailboxes"] == 0


async def test_a_client_that_leaves_before_the_first_byte_cancels_too(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        asking = asyncio.get_running_loop().create_task(world.chat(stream=False))
        parent = await world.parent()
        asking.cancel()
        await until(lambda: world.deps.admission.statistics()["open"] == 0)
        assert await world.cancelled() == [(parent, "disconnect")]


async def test_a_client_that_asked_to_continue_can_leave_and_come_back(checkpoint: Path) -> None:
    """`X-On-Disconnect: continue`: the request runs on and `GET /v1/streams/{id}` goes on behind what was read."""
    async with a_world(checkpoint) as world, Streaming(world, **{"X-On-Disconnect": "continue"}) as stream:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 2))
        await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 2)
        stream.leave()
        await until(lambda: world.deps.admission.statistics()["open"] == 0)
        assert await world.cancelled() == []
        for headers, query in (({"Last-Event-ID": "2"}, ""), ({}, "?starting_after=2")):
            world.detokenizer.attaches.clear()
            path = f"/v1/streams/{parent}{query}"
            asking = asyncio.get_running_loop().create_task(world.http.get(path, headers=headers))
            await until(lambda: bool(world.detokenizer.attaches))
            assert world.detokenizer.attaches == [Attach(world.deps.gateway, {parent: "2"})]
            merged = Frame(parent, "4", event("3") + event("4"), after="2")
            await world.detokenizer.push(merged, done(parent, 4))
            response = await asking
            assert await response.text() == event("3") + event("4") + "data: [DONE]\n\n"
            assert response.headers["X-Request-Id"] == parent
        assert await world.cancelled() == []


async def test_a_policy_the_gateway_does_not_have_is_refused_by_name(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        headers = {"X-On-Disconnect": "detach=30"}
        response = await world.http.post("/v1/chat/completions", json=a_chat(), headers=headers)
        assert response.status == 400
        assert (await response.json())["error"]["param"] == "X-On-Disconnect"


async def test_a_stream_is_cancelled_by_its_id(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world, Streaming(world):
        parent = await world.parent()
        assert (await world.http.post(f"/v1/streams/{parent}/cancel")).status == 204
        assert await world.cancelled() == [(parent, "client")]


async def test_an_unknown_stream_has_the_detokenizers_answer(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        parent = "cmpl-" + "a" * 32
        asking = asyncio.get_running_loop().create_task(world.http.get(f"/v1/streams/{parent}"))
        await until(lambda: bool(world.detokenizer.attaches))
        await world.detokenizer.push(Frame(parent, "", '{"error": {}}', status=404, last=True))
        assert (await asking).status == 404


async def test_a_second_reader_takes_the_stream_over(checkpoint: Path) -> None:
    """A browser that reconnects may be back before its old connection is known to be dead; nothing is cancelled."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 2))
        await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 2)
        asking = asyncio.get_running_loop().create_task(world.http.get(f"/v1/streams/{parent}?starting_after=2"))
        assert await stream.text() in ("", event("1"), event("1") + event("2"))
        await until(lambda: bool(world.detokenizer.attaches))
        await world.detokenizer.push(*frames(parent, 2, 3), done(parent, 3))
        assert await (await asking).text() == event("3") + "data: [DONE]\n\n"
        assert await world.cancelled() == []


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
        asking = asyncio.get_running_loop().create_task(
            world.http.post("/v1/chat/completions", json=a_chat(stream=True)).__aenter__()
        )
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


async def test_a_client_that_never_reads_is_cut_off(checkpoint: Path) -> None:
    """A full socket may not hold a request for ever."""
    async with a_world(checkpoint, stall_timeout_s=0.05, mailbox_frames=100) as world:
        asking = asyncio.get_running_loop().create_task(
            world.http.post("/v1/chat/completions", json=a_chat(stream=True)).__aenter__()
        )
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
        assert await stream.text() == big + "data: [DONE]\n\n"


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


async def test_a_trace_is_passed_on_if_it_is_one(checkpoint: Path) -> None:
    good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with a_world(checkpoint) as world:
        for given, passed in ((good, good), ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", None), ("x" * 5000, None)):
            async with Streaming(world, traceparent=given):
                await until(lambda: world.deps.replies.statistics()["mailboxes"] == 1)
                assert passed in {request.traceparent for request in await world.submitted()}
            await until(lambda: world.deps.replies.statistics()["mailboxes"] == 0)


async def test_stopping_ends_what_runs_and_takes_nothing_new(checkpoint: Path) -> None:
    """Within its grace a stream comes to its end; meanwhile the gateway is not ready and refuses."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 1))
        await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 1)
        leaving = asyncio.get_running_loop().create_task(leave(world.runner, world.deps))
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
