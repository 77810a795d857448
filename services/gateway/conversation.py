"""The messages of a chat, and what the chat template makes of them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import Discriminator, Field, Tag

from services.gateway.body import Body
from services.gateway.freeform import an_object, too_deep
from services.gateway.tools import MAX_CALLS
from shared.errors import ClientError

MAX_KWARGS_BYTES = 16 * 1024
GIVEN = (
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "tokenize",
)
BUILT_IN = ("raise_exception", "strftime_now", "range", "dict", "lipsum", "cycler", "joiner", "namespace")
RESERVED = frozenset((*GIVEN, *BUILT_IN, "self", "loop", "caller"))  # what a template has from us and its environment

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
Id = Annotated[str, Field(min_length=1, max_length=256)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]


class TextPart(Body):
    type: Literal["text"]
    text: str


def _kind(value: Any) -> str | None:
    match value:
        case str():
            return "text"
        case list():
            return "list"
        case _:
            return None


Parts = Annotated[list[TextPart], Field(fail_fast=True, min_length=1, max_length=1024), Tag("list")]
Content = Annotated[
    Annotated[str, Tag("text")] | Parts,
    Discriminator(
        _kind, custom_error_type="content_type", custom_error_message="Input should be a string or a list of text parts"
    ),
]


class FunctionCall(Body):
    name: Id
    arguments: Annotated[str, Field(description="JSON, as the model wrote it")]

    def plain(self) -> dict[str, Any]:
        """Templates write arguments as JSON themselves: what can be an object is one."""
        return {"name": self.name, "arguments": _object(self.arguments)}


class ToolCall(Body):
    id: Id
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Body):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[Content | None, Field(description="only an assistant's with tool_calls may be null")] = None
    name: Annotated[str, Field(max_length=256)] | None = None
    reasoning_content: (
        Annotated[str, Field(description="of an assistant; most templates use the newest only")] | None
    ) = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True, min_length=1, max_length=MAX_CALLS)] | None = None
    tool_call_id: Annotated[Id, Field(description="of a tool: which call this answers")] | None = None

    @property
    def text(self) -> str:
        parts = [self.content] if isinstance(self.content, str) else [part.text for part in self.content or ()]
        return "".join(parts)

    def plain(self) -> dict[str, Any]:
        """As chat templates know it: content is text, and `developer`, which they do not know, is `system`."""
        fields: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "content": self.text}
        for field in ("name", "reasoning_content", "tool_call_id"):
            if (value := getattr(self, field)) is not None:
                fields[field] = value
        if self.tool_calls:
            calls = self.tool_calls
            fields["tool_calls"] = [{"id": c.id, "type": c.type, "function": c.function.plain()} for c in calls]
        return fields


Messages = Annotated[list[Message], Field(fail_fast=True, min_length=1, max_length=4096)]
TemplateKwargs = Annotated[
    dict[Variable, Any],
    an_object(MAX_KWARGS_BYTES),
    Field(max_length=32, description="more variables for the chat template, such as enable_thinking"),
]


class Conversation(Body):
    messages: Messages
    add_generation_prompt: Annotated[bool | None, Field(description="true, unless the final message is continued")] = (
        None
    )
    continue_final_message: Annotated[bool, Field(description="the answer goes on where the final message ends")] = (
        False
    )
    chat_template_kwargs: TemplateKwargs = Field(default_factory=dict)
    reasoning_effort: Annotated[Effort, Field(description="for templates that have such a variable")] | None = None
    include_reasoning: Annotated[bool, Field(description="false: reasoning is counted and not told")] = True

    @property
    def variables(self) -> Mapping[str, Any]:
        """The client's own, for the template."""
        effort = {} if self.reasoning_effort is None else {"reasoning_effort": self.reasoning_effort}
        return effort | self.chat_template_kwargs

    @property
    def opens_answer(self) -> bool:
        """Does the template write the beginning of the assistant's turn?"""
        given = self.add_generation_prompt
        return not self.continue_final_message if given is None else given


_OF_ALL = frozenset(("role", "content", "name"))
_OF_ROLE = {"assistant": frozenset(("reasoning_content", "tool_calls")), "tool": frozenset(("tool_call_id",))}


def check_conversation(chat: Conversation) -> None:
    """What no single field can say. Raises ClientError."""
    check_messages(chat.messages)
    if chat.continue_final_message:
        if chat.add_generation_prompt:
            message_ = "continue_final_message and add_generation_prompt exclude each other"
            raise _refusal("continue_final_message", message_)
        if chat.messages[-1].content is None or chat.messages[-1].tool_calls:
            raise _refusal("continue_final_message", "continue_final_message needs a final message that is text alone")
    for name in chat.chat_template_kwargs.keys() & RESERVED:
        raise reserved(name)
    if chat.reasoning_effort is not None and "reasoning_effort" in chat.chat_template_kwargs:
        raise _refusal("reasoning_effort", "reasoning_effort stands in chat_template_kwargs too: send one of them")


def check_messages(messages: Sequence[Message]) -> None:
    """Each has what its role needs, and nothing else. Raises ClientError."""
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}")


def reserved(name: str) -> ClientError:
    message = f"chat_template_kwargs.{name} is the template's own and cannot be given"
    return _refusal(f"chat_template_kwargs.{name}", message)


def _check_message(message: Message, path: str) -> None:
    strange = message.model_fields_set - _OF_ALL - _OF_ROLE.get(message.role, frozenset())
    for field in sorted(strange):
        text = f"Unrecognized request argument supplied: {path}.{field} (the role is {message.role})"
        raise ClientError(text, param=f"{path}.{field}", code="unknown_parameter")
    if message.content is None and not message.tool_calls:
        raise _missing(f"{path}.content")
    if message.role == "tool" and message.tool_call_id is None:
        raise _missing(f"{path}.tool_call_id")


def _missing(param: str) -> ClientError:
    return ClientError(f"{param} is required", param=param, code="missing_required_parameter")


def _refusal(param: str, message: str) -> ClientError:
    return ClientError(message, param=param, code="invalid_value")


def _object(text: str) -> dict[str, Any] | str:
    """The JSON object that a text is; the text itself if it is none."""
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, dict) and not too_deep(value) else text
