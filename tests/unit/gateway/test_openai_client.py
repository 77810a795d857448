"""The official client, unchanged, against the gateway: what it sends is accepted, what it gets it understands."""

from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from shared.frames import Frame
from shared.messages import GenerateRequest
from tests.unit.gateway.fakes import CONTEXT, MODEL, World, a_world, start

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def a_client(world: World, key: str = "key") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=world.url + "/v1", api_key=key, max_retries=0)


def answer(request: GenerateRequest) -> Frame:
    """What a detokenizer renders: "hi" and " there", as chunks or as a whole."""
    chat, stream = request.render.kind == "chat", request.render.stream
    kind = "chat.completion" + (".chunk" if stream else "") if chat else "text_completion"
    head = {"id": request.parent_id, "object": kind, "created": request.render.created, "model": MODEL}
    if not stream:
        message = {"role": "assistant", "content": "hi there", "refusal": None}
        told: dict[str, object] = {"message": message} if chat else {"text": "hi there"}
        choice = {"index": 0, "finish_reason": "stop", "logprobs": None} | told
        return Frame(request.parent_id, "2", _json(head | {"choices": [choice], "usage": USAGE}), last=True, after="")
    chunks = []
    for text, reason in (("hi", None), (" there", "stop")):
        told = {"delta": {"content": text}} if chat else {"text": text}
        chunks.append(head | {"choices": [told | {"index": 0, "finish_reason": reason, "logprobs": None}]})
    if request.render.include_usage:
        chunks.append(head | {"choices": [], "usage": USAGE})
    data = "".join(f"id: {i}\ndata: {_json(chunk)}\n\n" for i, chunk in enumerate(chunks, 1)) + "data: [DONE]\n\n"
    return Frame(request.parent_id, "2", data, last=True, after="")


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


async def serve(world: World) -> None:
    """Answer whatever is submitted."""
    answered = 0
    while True:
        for request in (await world.submitted(answered + 1))[answered:]:
            await world.detokenizer.push(answer(request))
            answered += 1


async def test_chats_and_completions_stream_and_do_not(checkpoint: Path) -> None:
    """All four forms, with the parameters that the client has names for and those it passes as extras."""
    async with a_world(checkpoint, api_key="key") as world, a_client(world) as client:
        serving = start(serve(world))
        chat = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
            temperature=0.5,
            max_completion_tokens=5,
            stop=["END"],
            seed=3,
            user="me",
            extra_body={"top_k": 5, "min_p": 0.1, "ignore_eos": True},
        )
        assert chat.choices[0].message.content == "hi there"
        assert chat.usage and chat.usage.total_tokens == 7
        turn: Any = chat.choices[0].message  # as many programs keep a conversation
        again = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hi"}, turn, {"role": "user", "content": "more"}]
        )
        assert again.id != chat.id
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "hi there"
        assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 2
        text = await client.completions.create(model=MODEL, prompt=[1, 2, 3], max_tokens=4)
        assert text.choices[0].text == "hi there"
        pieces = await client.completions.create(model=MODEL, prompt="hi", stream=True)
        assert [piece.choices[0].text async for piece in pieces] == ["hi", " there"]
        serving.cancel()


async def test_its_errors_are_the_clients_own_exceptions(checkpoint: Path) -> None:
    async with a_world(checkpoint, api_key="key") as world, a_client(world) as client:
        with pytest.raises(openai.BadRequestError) as bad:
            await client.completions.create(model=MODEL, prompt="x", temperature=3)
        assert bad.value.param == "temperature"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.completions.create(model="other", prompt="x")
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as long:
            await client.completions.create(model=MODEL, prompt="x" * 1000)
        assert long.value.code == "context_length_exceeded" and str(CONTEXT) in long.value.message
        async with a_client(world, key="wrong") as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.models.list()


async def test_it_finds_the_model(checkpoint: Path) -> None:
    async with a_world(checkpoint, served_model_name="owner/name") as world, a_client(world) as client:
        assert [model.id async for model in client.models.list()] == ["owner/name"]
        assert (await client.models.retrieve("owner/name")).id == "owner/name"
