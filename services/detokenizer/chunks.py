"""OpenAI's JSON for one client request: chunks of a stream, whole bodies (pure).

A chunk of text is written for every token of every request, so its constant part is built once: what is left is to
encode the text and to join three strings.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from services.detokenizer.logprobs import of_chat, of_completion, of_prompt
from services.detokenizer.parts import Content, Part, delta, message
from services.detokenizer.session import Session
from shared.messages import RenderSpec
from shared.types import ParentId

Usage = dict[str, Any]


class Chunks:
    """What the chunks of one parent look like."""

    __slots__ = ("_frames", "_parent", "_spec")

    def __init__(self, parent: ParentId, spec: RenderSpec) -> None:
        self._parent = parent
        self._spec = spec
        self._frames: dict[int, tuple[str, str]] = {}  # of each choice: what stands around the text

    def text(self, choice: Session, text: str, told: int, spent: Usage | None = None) -> str:
        """What a choice has brought behind its token number `told`."""
        index = choice.request.index
        if spent or choice.scores is not None:
            return self._chunk(index, self._news(text), None, self._new_scores(choice, told), spent)
        if index not in self._frames:
            before, _, after = self._chunk(index, self._news(""), None).rpartition('""')
            self._frames[index] = before, after
        before, after = self._frames[index]
        return before + orjson.dumps(text).decode() + after

    def parts(self, choice: Session, parts: Sequence[Part], told: int, spent: Usage | None = None) -> str:
        """The same of one that is taken apart."""
        news = {"delta": delta(parts, choice.request.id)}
        return self._chunk(choice.request.index, news, None, self._new_scores(choice, told), spent)

    def role(self, index: int, spent: Usage | None = None) -> str:
        """The first chunk of a chat's choice."""
        return self._chunk(index, {"delta": {"role": "assistant", "content": ""}}, None, spent=spent)

    def echo(self, choice: Session, spent: Usage | None = None) -> str:
        """The first chunk of a completion that its prompt stands before."""
        assert choice.echo is not None
        scores = self._scores(choice, range(0), echo=True) if choice.scores is not None else None
        return self._chunk(choice.request.index, self._news(choice.echo.text), None, scores, spent)

    def final(self, choice: Session, spent: Usage | None = None) -> str:
        """The chunk that ends a choice, with what was held back until now."""
        if choice.answer:
            news = {"delta": delta(choice.answer.tail, choice.request.id)}
        else:
            empty = self._spec.kind == "chat" and not choice.tail
            news = {"delta": {}} if empty else self._news(choice.tail)
        last = choice.scores.last if choice.scores is not None else range(0)
        scores = self._scores(choice, last) if last else None
        return self._chunk(choice.request.index, news, choice.finish_reason, scores, spent)

    def usage(self, choices: Sequence[Session]) -> str:
        return _json(self._head(True) | {"choices": [], "usage": self._usage(choices)})

    def body(self, choices: Sequence[Session]) -> str:
        """The answer to a request that does not stream."""
        rows = [self._whole(index, choice) for index, choice in enumerate(choices)]
        told: dict[str, Any] = {"choices": rows, "usage": self._usage(choices)}
        if self._spec.prompt_logprobs and self._spec.kind == "chat":
            told["prompt_logprobs"] = of_prompt(choices[0])
        return _json(self._head(False) | told)

    def spent(self, completion_tokens: int, choices: Sequence[Session]) -> Usage:
        """What the request has used when so many tokens of its choices have come."""
        prompt_tokens = self._spec.prompt_tokens
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": min(prompt_tokens, self._cached(choices))},
        }

    def _cached(self, choices: Sequence[Session]) -> int:
        """Of each prompt what none of its choices had to compute: the second one finds what the first has left."""
        width = max(1, self._spec.choices // self._spec.prompts)
        found: dict[int, int] = {}
        for choice in choices:
            prompt = choice.request.index // width
            found[prompt] = min(found.get(prompt, choice.cached), choice.cached)
        return sum(found.values())

    def _chunk(
        self,
        index: int,
        news: dict[str, Any],
        reason: str | None,
        scores: dict[str, Any] | None = None,
        spent: Usage | None = None,
    ) -> str:
        choice = {"index": index, **news, "logprobs": scores, "finish_reason": reason}
        last = {"usage": spent} if self._spec.include_usage else {}
        return _json(self._head(True) | {"choices": [choice]} | last)

    def _head(self, streams: bool) -> dict[str, Any]:
        chat = "chat.completion.chunk" if streams else "chat.completion"
        kind = chat if self._spec.kind == "chat" else "text_completion"
        return {"id": self._parent, "object": kind, "created": self._spec.created, "model": self._spec.model}

    def _news(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text}} if self._spec.kind == "chat" else {"text": text}

    def _whole(self, index: int, choice: Session) -> dict[str, Any]:
        if self._spec.kind == "chat":
            parts = choice.answer.parts if choice.answer else [Content(choice.text)]
            told: dict[str, Any] = {"message": message(parts, choice.request.id)}
        else:
            told = {"text": (choice.echo.text if choice.echo else "") + choice.text}
            if self._spec.prompt_logprobs:
                told["prompt_logprobs"] = of_prompt(choice)
        scores = self._scores(choice, range(len(choice.scores)), echo=True) if choice.scores is not None else None
        return {"index": index, **told, "logprobs": scores, "finish_reason": choice.finish_reason}

    def _new_scores(self, choice: Session, told: int) -> dict[str, Any] | None:
        return self._scores(choice, choice.scores.after(told)) if choice.scores is not None else None

    def _scores(self, choice: Session, which: range, *, echo: bool = False) -> dict[str, Any]:
        return of_chat(choice, which) if self._spec.kind == "chat" else of_completion(choice, which, echo)

    def _usage(self, choices: Sequence[Session]) -> Usage:
        usage = self.spent(sum(len(choice.ids) for choice in choices), choices)
        if self._spec.markup and self._spec.markup.reasoning != "none":
            thought = sum(choice.answer.reasoning_tokens for choice in choices if choice.answer)
            usage["completion_tokens_details"] = {"reasoning_tokens": thought}
        return usage


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()
