"""The official client and tools: a gateway, a real detokenizer's rendering, and an engine that says what it is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from services.detokenizer.decode import Vocabulary
from services.detokenizer.sessions import News, Sessions
from shared import tokenizer
from shared.bus import Step, StreamId
from shared.messages import EngineStatus, Finished, GenerateRequest, Record, Started, Tokens
from shared.types import FinishReason
from tests.unit.gateway.fakes import LONG_MS, MODEL, World, a_world, own, start, until
from tests.unit.gateway.templates_for_tests import QWEN, WEATHER, with_template

QUESTION: list[Any] = [{"role": "user", "content": "rain?"}]
ANSWER = (
    "<think>\nI must look.\n</think>\n\nLooking.\n"
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Łódź"}}\n</tool_call>'
)
CITIES = ['{"city": "Ulm"}', '{"city": "Łódź"}']


class Speaker:
    """Answers every request with one text, token by token, each in a frame of its own."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._tokenizer = tokenizer.load(folder).backend_tokenizer
        self._tokenizer.no_truncation()
        self._sessions = Sessions(Vocabulary(self._tokenizer))
        self._steps = 0
        self.text = ANSWER
        self.requests: list[GenerateRequest] = []

    async def run(self) -> None:
        while True:
            for request in (await self._world.submitted(len(self.requests) + 1))[len(self.requests) :]:
                self.requests.append(request)
                await self._answer(request)

    async def _answer(self, request: GenerateRequest) -> None:
        ids = self._tokenizer.encode(self.text, add_special_tokens=False).ids
        records: list[Record] = [Tokens(request.id, 0, offset, (token,)) for offset, token in enumerate(ids)]
        cursor = ""
        records = [Started("1-0", request), *records, Finished(request.id, 0, len(ids), FinishReason.STOP)]
        for record in records:
            self._steps += 1
            self._sessions.consume(Step("e.1", StreamId(1, self._steps), (record,)), News())
            if frame := self._sessions.frame(request.parent_id, cursor):
                cursor = frame.cursor
                await self._world.detokenizer.push(frame)


@asynccontextmanager
async def speaking(
    checkpoint: Path, folder: Path, template: str = QWEN
) -> AsyncIterator[tuple[Speaker, openai.AsyncOpenAI]]:
    model = with_template(checkpoint, folder / "checkpoint", template)
    async with a_world(model, ready=False, mailbox_frames=1000) as world:
        await world.bus.announce_engine(
            EngineStatus(name="e.1", state="ready", max_model_len=4096, vocab_size=300), LONG_MS
        )
        await own(world.bus, 0, world.detokenizer.url, "first")
        await until(lambda: world.deps.readiness().ready)
        speaker = Speaker(world, model)
        async with openai.AsyncOpenAI(base_url=world.url + "/v1", api_key="any", max_retries=0) as client:
            speech = start(speaker.run())
            yield speaker, client
            speech.cancel()


async def test_calls_and_reasoning_arrive_whole_and_streamed(checkpoint: Path, tmp_path: Path) -> None:
    """And the client's own helper puts the stream together to the same message."""
    async with speaking(checkpoint, tmp_path) as (speaker, client):
        whole = await client.chat.completions.create(model=MODEL, messages=QUESTION, tools=[WEATHER])  # type: ignore[list-item]
        [choice] = whole.choices
        assert choice.finish_reason == "tool_calls" and choice.message.content == "Looking."
        calls: list[Any] = list(choice.message.tool_calls or ())
        assert [(call.type, call.function.name, call.function.arguments) for call in calls] == [
            ("function", "weather", city) for city in CITIES
        ]
        assert choice.message.model_extra == {"reasoning_content": "I must look."}
        assert whole.usage and whole.usage.completion_tokens_details
        assert whole.usage.completion_tokens_details.reasoning_tokens == len("<think>\nI must look.\n</think>") - 6

        stream = client.chat.completions.stream(model=MODEL, messages=QUESTION, tools=[WEATHER])  # type: ignore[list-item]
        async with stream as events:
            deltas = [event async for event in events if event.type == "tool_calls.function.arguments.delta"]
            final = (await events.get_final_completion()).choices[0]
        assert len(deltas) > 10
        assert (final.finish_reason, final.message.content) == ("tool_calls", "Looking.")
        streamed: list[Any] = list(final.message.tool_calls or ())
        assert [call.function.arguments for call in streamed] == CITIES
        assert len({call.id for call in (*calls, *streamed)}) == 4
        assert b"You may call" in bytes(speaker.requests[0].prompt)


async def test_a_turn_with_calls_goes_back_as_it_came(checkpoint: Path, tmp_path: Path) -> None:
    """The client sends the message it got, and the answers of its tools; the model reads them."""
    async with speaking(checkpoint, tmp_path) as (speaker, client):
        first = await client.chat.completions.create(model=MODEL, messages=QUESTION, tools=[WEATHER])  # type: ignore[list-item]
        turn = first.choices[0].message
        answers = [{"role": "tool", "tool_call_id": call.id, "content": "dry"} for call in turn.tool_calls or ()]
        speaker.text = "It is dry."
        again = await client.chat.completions.create(
            model=MODEL,
            messages=[*QUESTION, turn, *answers],  # type: ignore[list-item]
            tools=[WEATHER],  # type: ignore[list-item]
            parallel_tool_calls=False,
        )
        assert (again.choices[0].message.content, again.choices[0].finish_reason) == ("It is dry.", "stop")
        prompt = bytes(speaker.requests[1].prompt).decode()
        assert '{"name": "weather", "arguments": {"city": "Łódź"}}' in prompt and prompt.count("[tool]dry") == 2


async def test_what_cannot_be_had_is_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    async with speaking(checkpoint, tmp_path, "{{ messages[0].content }}") as (_, client):
        refused: list[dict[str, Any]] = [
            {"tools": [WEATHER]},
            {"functions": [WEATHER["function"]]},
            {"reasoning_effort": "high"},
            {"extra_body": {"chat_template": "{{ 1 }}"}},
        ]
        for fields in refused:
            with pytest.raises(openai.BadRequestError) as bad:
                await client.chat.completions.create(model=MODEL, messages=QUESTION, **fields)
            assert bad.value.param == next(iter(fields.get("extra_body", fields)))
            assert bad.value.code == "unsupported_parameter"
