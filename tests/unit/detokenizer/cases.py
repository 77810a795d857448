"""Requests and what engines write about them, in the fewest words."""

import json
from collections.abc import Sequence
from typing import Any, Literal

from services.detokenizer.decode import Vocabulary
from services.detokenizer.sessions import News, Sessions
from shared.bus import Step, StreamId
from shared.messages import Finished, GenerateRequest, Record, RenderSpec, Started, Tokens
from shared.types import FinishReason, SamplingParams, request_id
from tests.unit.detokenizer.tokenizers_for_tests import byte_level

Kind = Literal["chat", "completion"]

ENGINE = "gpu.7"
TOKENIZER = byte_level()
VOCABULARY = Vocabulary(TOKENIZER)
EOS = 1


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text, add_special_tokens=False).ids)


def spec(kind: Kind = "chat", **changes: Any) -> RenderSpec:
    fields: dict[str, Any] = {"model": "demo", "created": 1700000000, "stream": True, "choices": 1, "prompt_tokens": 5}
    return RenderSpec(kind=kind, **(fields | changes))


def request(parent: str = "p", index: int = 0, render: RenderSpec | None = None, **changes: Any) -> GenerateRequest:
    fields: dict[str, Any] = {
        "id": request_id(parent, index),
        "parent_id": parent,
        "index": index,
        "prompt": ids("Once upon a time"),
        "sampling": SamplingParams(max_tokens=100, stop_ids=(EOS,)),
        "render": render or spec(),
        "shard": 0,
        "gateway": "gate",
    }
    return GenerateRequest(**(fields | changes))


def started(of: GenerateRequest, entry: str = "1-0") -> Started:
    return Started(entry, of)


def tokens(of: GenerateRequest, offset: int, new: Sequence[int]) -> Tokens:
    return Tokens(of.id, of.attempt, offset, tuple(new))


def finished(of: GenerateRequest, offset: int, reason: FinishReason, detail: str = "") -> Finished:
    return Finished(of.id, of.attempt, offset, reason, detail)


def events(data: str) -> list[tuple[str | None, Any]]:
    """SSE events as (id, JSON or "[DONE]")."""
    found = []
    for block in data.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        body = fields["data"]
        found.append((fields.get("id"), body if body == "[DONE]" else json.loads(body)))
    return found


def deltas(data: str) -> dict[int, str]:
    """The text of each choice, as a client puts it together."""
    text: dict[int, str] = {}
    for _, body in events(data):
        for choice in body["choices"] if isinstance(body, dict) else ():
            new = choice["text"] if "text" in choice else choice["delta"].get("content", "")
            text[choice["index"]] = text.get(choice["index"], "") + new
    return text


def spoken(data: str) -> dict[int, dict[Any, Any]]:
    """Each choice of a stream with markup, put together as a client does it: text, reasoning, calls, ends."""
    choices: dict[int, dict[Any, Any]] = {}
    for _, body in events(data):
        for choice in body["choices"] if isinstance(body, dict) else ():
            all_of_it = choices.setdefault(choice["index"], {"content": "", "reasoning_content": "", "ends": []})
            if choice["finish_reason"]:
                all_of_it["ends"].append(choice["finish_reason"])
            for name in ("content", "reasoning_content"):
                all_of_it[name] += choice["delta"].get(name, "")
            for call in choice["delta"].get("tool_calls", ()):
                known = all_of_it.setdefault(call["index"], {"arguments": "", "id": call.get("id")})
                known["arguments"] += call["function"].get("arguments", "")
                known |= {"name": call["function"]["name"]} if "id" in call else {}
    return choices


class Play:
    """Sessions that are told one entry of a token stream after the other."""

    def __init__(self) -> None:
        self.sessions = Sessions(VOCABULARY)
        self._step = 0

    def say(self, *records: Record, executor: str = ENGINE) -> News:
        self._step += 1
        news = News()
        self.sessions.consume(Step(executor, StreamId(7, self._step), records), news)
        return news

    def run(self, of: GenerateRequest, text: str, reason: FinishReason = FinishReason.LENGTH, detail: str = "") -> None:
        """A whole life, one token a step."""
        self.say(started(of))
        for offset, token in enumerate(ids(text)):
            self.say(tokens(of, offset, [token]))
        self.say(finished(of, len(ids(text)), reason, detail))
