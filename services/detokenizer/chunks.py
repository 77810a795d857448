"""OpenAI's JSON for one client request: chunks of a stream, whole bodies (pure).

A chunk of text is written for every token of every request, so its constant part is built once: what is left is to
encode the text and to join three strings.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from services.detokenizer.session import Session
from shared.messages import RenderSpec
from shared.types import FinishReason, ParentId


class Chunks:
    """What the chunks of one parent look like."""

    __slots__ = ("_frames", "_parent", "_spec")

    def __init__(self, parent: ParentId, spec: RenderSpec) -> None:
        self._parent = parent
        self._spec = spec
        self._frames: dict[int, tuple[str, str]] = {}  # of each choice: what stands around the text

    def text(self, index: int, text: str) -> str:
        if index not in self._frames:
            before, _, after = self._chunk(index, self._news(""), None).rpartition('""')
            self._frames[index] = before, after
        before, after = self._frames[index]
        return before + orjson.dumps(text).decode() + after

    def role(self, index: int) -> str:
        """The first chunk of a chat's choice."""
        return self._chunk(index, {"delta": {"role": "assistant", "content": ""}}, None)

    def final(self, index: int, text: str, reason: FinishReason) -> str:
        """The chunk that ends a choice; `text` was held back until now."""
        empty = self._spec.kind == "chat" and not text
        return self._chunk(index, {"delta": {}} if empty else self._news(text), reason)

    def usage(self, completion_tokens: int) -> str:
        return _json(self._head(True) | {"choices": [], "usage": self._usage(completion_tokens)})

    def body(self, choices: Sequence[Session]) -> str:
        """The answer to a request that does not stream."""
        total = sum(len(choice.ids) for choice in choices)
        rows = [self._whole(index, choice) for index, choice in enumerate(choices)]
        return _json(self._head(False) | {"choices": rows, "usage": self._usage(total)})

    def _chunk(self, index: int, news: dict[str, Any], reason: FinishReason | None) -> str:
        choice = {"index": index, **news, "logprobs": None, "finish_reason": reason}
        last = {"usage": None} if self._spec.include_usage else {}
        return _json(self._head(True) | {"choices": [choice]} | last)

    def _head(self, streams: bool) -> dict[str, Any]:
        chat = "chat.completion.chunk" if streams else "chat.completion"
        kind = chat if self._spec.kind == "chat" else "text_completion"
        return {"id": self._parent, "object": kind, "created": self._spec.created, "model": self._spec.model}

    def _news(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text}} if self._spec.kind == "chat" else {"text": text}

    def _whole(self, index: int, choice: Session) -> dict[str, Any]:
        message = {"role": "assistant", "content": choice.text, "refusal": None}
        told = {"message": message} if self._spec.kind == "chat" else {"text": choice.text}
        return {"index": index, **told, "logprobs": None, "finish_reason": choice.end}

    def _usage(self, completion_tokens: int) -> dict[str, int]:
        prompt_tokens = self._spec.prompt_tokens
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()
