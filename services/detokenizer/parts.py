"""What an answer that is more than plain text is made of, and how OpenAI's API writes it (pure).

In a stream as in a whole body all parts of one kind are joined: OpenAI's form knows no order between text, reasoning
and calls. So whatever lies between two looks at an answer is one delta.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Any

from shared.types import RequestId


@dataclass(frozen=True, slots=True)
class Content:
    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call begins; `index` counts those of the answer."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of the arguments of a call that has begun: JSON as the model wrote it."""

    index: int
    text: str


Part = Content | Reasoning | Call | Arguments


def delta(parts: Iterable[Part], request: RequestId) -> dict[str, Any]:
    """`delta` of a stream's chunk."""
    joined = _join(parts)
    fields = {"reasoning_content": joined.reasoning, "content": joined.content}
    told: dict[str, Any] = {name: "".join(texts) for name, texts in fields.items() if texts}
    if joined.arguments:
        calls = sorted(joined.arguments)
        told["tool_calls"] = [{"index": index} | _call(joined, index, request) for index in calls]
    return told


def message(parts: Iterable[Part], request: RequestId) -> dict[str, Any]:
    """`message` of a whole body: content is null if there are calls and nothing else."""
    joined = _join(parts)
    content = "".join(joined.content)
    told: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if joined.reasoning:
        told["reasoning_content"] = "".join(joined.reasoning)
    if joined.arguments:
        told["content"] = content or None
        told["tool_calls"] = [_call(joined, index, request) for index in sorted(joined.arguments)]
    return told


def call_id(request: RequestId, index: int) -> str:
    """The same whoever renders it, and for whom."""
    return f"call_{blake2s(f'{request}/{index}'.encode(), digest_size=12).hexdigest()}"


@dataclass(slots=True)
class _Joined:
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    arguments: dict[int, list[str]] = field(default_factory=dict)


def _join(parts: Iterable[Part]) -> _Joined:
    joined = _Joined()
    for part in parts:
        match part:
            case Content(text):
                joined.content.append(text)
            case Reasoning(text):
                joined.reasoning.append(text)
            case Call(index, name):
                joined.names[index] = name
                joined.arguments[index] = []
            case Arguments(index, text):
                joined.arguments.setdefault(index, []).append(text)
    return joined


def _call(joined: _Joined, index: int, request: RequestId) -> dict[str, Any]:
    """A call; of one that began earlier only what is new of its arguments."""
    arguments = "".join(joined.arguments[index])
    if index not in joined.names:
        return {"function": {"arguments": arguments}}
    function = {"name": joined.names[index], "arguments": arguments}
    return {"id": call_id(request, index), "type": "function", "function": function}
