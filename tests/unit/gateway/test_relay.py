"""From the detokenizer's frames to the client's bytes: in order, once, unopened; and what a client's leaving means."""

import asyncio
import re
from pathlib import Path

import pytest

from shared.frames import Frame, parent_of
from tests.unit.gateway.conftest import EOS
from tests.unit.gateway.fakes import a_chat, a_world, start, until
from tests.unit.gateway.streaming import EVENTS, PRELUDE, Streaming, done, event, expected, frames, to


async def test_a_stream_is_the_frames_bytes_and_nothing_else(checkpoint: Path) -> None:
    """The gateway opens no frame: whatever stands in them goes to the client, with headers no proxy holds back."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", parent)
        odd = "id: 1\r\ndata: 🐝 not JSON \x00\n\n"
        await world.detokenizer.push(Frame(parent, "1", odd, after=""))
        await world.detokenizer.push(*frames(parent, 1, 3), done(parent, 3))
        status, headers, text = await stream.result()
        assert (status, text) == (200, PRELUDE + odd + event("2") + event("3") + "data: [DONE]\n\n")
        assert headers["Content-Type"].startswith("text/event-stream")
        assert headers["Cache-Control"] == "no-cache, no-transform"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["X-Request-Id"] == parent
        assert await world.cancelled() == []


async def test_ids_are_for_clients_that_ask_for_an_event_stream(checkpoint: Path) -> None:
    """Others take a frame apart by hand and get OpenAI's frames and nothing else (ADR 4)."""
    async with a_world(checkpoint) as world, Streaming(world, Accept="*/*") as stream:
        parent = await world.parent()
        merged = event("1", "id: in the text") + event("2")
        await world.detokenizer.push(Frame(parent, "2", merged, after=""), done(parent, 2))
        assert await stream.text() == "data: id: in the text\n\ndata: x\n\ndata: [DONE]\n\n"


async def test_each_event_reaches_the_client_at_once(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        asking = start(world.http.post("/v1/chat/completions", json=a_chat(stream=True), headers=EVENTS).__aenter__())
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 1))
        response = await asking
        assert (await response.content.readuntil(b"\n\n")).decode() == PRELUDE
        for i in range(1, 4):
            assert (await response.content.readuntil(b"\n\n")).decode() == event(str(i))
            await world.detokenizer.push(*frames(parent, i, i + 1))
        response.close()


async def test_a_whole_answer_is_the_one_frame(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        asking = start(world.chat(n=2, seed=7))
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
        asking = start(world.chat(stream=stream))
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
        comments, _, rest = text.removeprefix(PRELUDE).partition("data: ")
        assert set(comments.split("\n\n")) <= {": keep-alive", ": queued position=1", ""} and ": " in comments
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
        asking = start(world.chat(stream=False))
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
        await until(lambda: world.detokenizer.left == [parent])
        for headers, query in (({"Last-Event-ID": "2"}, ""), ({}, "?starting_after=2")):
            world.detokenizer.attaches.clear()
            path = f"/v1/streams/{parent}{query}"
            asking = start(world.http.get(path, headers=headers))
            await until(lambda: bool(world.detokenizer.attaches))
            [(reader, cursor)] = world.detokenizer.attaches[0].cursors.items()
            assert (parent_of(reader), cursor) == (parent, "2")
            merged = Frame(parent, "4", event("3") + event("4"), after="2")
            await world.detokenizer.push(*to(reader, merged, done(parent, 4)))
            response = await asking
            assert await response.text() == PRELUDE + event("3") + event("4") + "data: [DONE]\n\n"
            assert response.headers["X-Request-Id"] == parent
        assert await world.cancelled() == []


async def test_a_stream_is_cancelled_by_its_id(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world, Streaming(world):
        parent = await world.parent()
        assert (await world.http.post(f"/v1/streams/{parent}/cancel")).status == 204
        assert await world.cancelled() == [(parent, "client")]


async def test_an_unknown_stream_has_the_detokenizers_answer(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        parent = "cmpl-" + "a" * 32
        asking = start(world.http.get(f"/v1/streams/{parent}"))
        await until(lambda: bool(world.detokenizer.attaches))
        [reader] = world.detokenizer.attaches[0].cursors
        await world.detokenizer.push(*to(reader, Frame(parent, "", '{"error": {}}', status=404, last=True)))
        assert (await asking).status == 404


@pytest.mark.parametrize("late", [False, True])
async def test_the_address_of_an_answer_that_is_no_stream_gives_it_whole(checkpoint: Path, late: bool) -> None:
    """As JSON, or as the one event of a stream whose headers had to go already."""
    async with a_world(checkpoint, keep_alive_s=0.01 if late else 60.0) as world:
        parent = "cmpl-" + "a" * 32
        asking = start(world.http.get(f"/v1/streams/{parent}"))
        await until(lambda: bool(world.detokenizer.attaches))
        if late:
            await until(asking.done)
        [reader] = world.detokenizer.attaches[0].cursors
        await world.detokenizer.push(*to(reader, Frame(parent, "4", '{"whole": "body"}', last=True, after="")))
        response = await asking
        if late:
            assert (await response.text()).endswith('data: {"whole": "body"}\n\n')
        else:
            assert response.content_type == "application/json"
            assert await response.text() == '{"whole": "body"}'


async def test_several_readers_follow_one_stream_each_where_it_stands(checkpoint: Path) -> None:
    """A frame is for one of them; the others' frames do not move it."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 2))
        await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 2)
        asking = [start(world.http.get(f"/v1/streams/{parent}?starting_after={i}")) for i in (1, 2)]
        await until(lambda: len(world.detokenizer.attaches) == 2)
        cursors = {cursor: reader for attach in world.detokenizer.attaches for reader, cursor in attach.cursors.items()}
        await world.detokenizer.push(*to(cursors["1"], *frames(parent, 1, 3), done(parent, 3)))
        await world.detokenizer.push(*to(cursors["2"], *frames(parent, 2, 3), done(parent, 3)))
        await world.detokenizer.push(*frames(parent, 2, 3), done(parent, 3))
        first, second = [await (await one).text() for one in asking]
        assert first == PRELUDE + event("2") + event("3") + "data: [DONE]\n\n"
        assert second == PRELUDE + event("3") + "data: [DONE]\n\n"
        assert await stream.text() == expected(3)
        assert world.detokenizer.left == []


async def test_a_client_that_leaves_while_another_reads_cancels_nothing(checkpoint: Path) -> None:
    """A browser that reconnects may be back before its old connection is known to be dead."""
    async with a_world(checkpoint) as world, Streaming(world) as stream:
        parent = await world.parent()
        await world.detokenizer.push(*frames(parent, 0, 2))
        await until(lambda: world.deps.replies.statistics()["frames_relayed"] == 2)
        asking = start(world.http.get(f"/v1/streams/{parent}?starting_after=2"))
        await until(lambda: bool(world.detokenizer.attaches))
        [reader] = world.detokenizer.attaches[0].cursors
        stream.leave()
        await until(lambda: world.detokenizer.left == [parent])
        await world.detokenizer.push(*to(reader, *frames(parent, 2, 3), done(parent, 3)))
        assert await (await asking).text() == PRELUDE + event("3") + "data: [DONE]\n\n"
        assert await world.cancelled() == []
