"""OpenAI's request bodies: what is accepted, and within which bounds. Pure; `/openapi.json` is made from these models.

Rules: `null` means unset, in every object. A field that is not here is refused by name, never ignored. Bounds come
before work: nothing of a length or count that a client chose is processed before it was compared with a limit.
Booleans are no numbers and numbers are no booleans (pydantic's strict mode).
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from services.gateway.body import Body, Count, Off, TokenId
from services.gateway.conversation import Conversation, check_conversation
from services.gateway.grammar import check_volume, grammar_of
from services.gateway.refusals import CHAT, COMPLETION, Refusals
from services.gateway.steering import Steering
from services.gateway.structured import ResponseFormat, StructuredOutputs
from services.gateway.tools import ToolUse, check_tools
from services.gateway.truncation import Kept
from shared.errors import ClientError
from shared.types import MAX_CHOICES, MAX_TOP_LOGPROBS

MAX_PROMPTS = 256
DEFAULT_COMPLETION_TOKENS = 16  # OpenAI's, for /v1/completions

PROMPT_FORMS = "Input should be a string, a list of token ids, or a list of either"

Unit = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _prompts(value: Any) -> Any:
    """The four forms of a prompt as a list of prompts."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise PydanticCustomError("prompt_type", PROMPT_FORMS)
    return [value] if value and isinstance(value[0], int) else value


def _kind(value: Any) -> str | None:
    match value:
        case str():
            return "text"
        case list():
            return "list"
        case _:
            return None


def _either(*schemas: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": list(schemas)})


_TEXT, _IDS = {"type": "string"}, {"type": "array", "items": {"type": "integer", "minimum": 0}}

Inert = Annotated[str, Field(max_length=1024, description="no effect")]
MetaKey = Annotated[str, Field(max_length=64)]
MetaValue = Annotated[str, Field(max_length=512)]
StopString = Annotated[str, Field(min_length=1, max_length=1024)]
Stop = Annotated[
    list[StopString],
    Field(fail_fast=True),
    Field(max_length=16),
    BeforeValidator(_listed),
    _either(_TEXT, {"type": "array", "items": _TEXT, "maxItems": 16}),
]
Prompt = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[TokenId], Field(fail_fast=True), Tag("list")],
    Discriminator(_kind, custom_error_type="prompt_type", custom_error_message=PROMPT_FORMS),
]
Prompts = Annotated[
    list[Prompt],
    Field(fail_fast=True),
    Field(min_length=1, max_length=MAX_PROMPTS),
    BeforeValidator(_prompts),
    _either(_TEXT, {"type": "array", "items": _TEXT}, _IDS, {"type": "array", "items": _IDS}),
]


TopLogprobs = Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)]


class StreamOptions(Body):
    include_usage: bool = False
    continuous_usage_stats: Annotated[bool, Field(description="with include_usage: usage so far in each chunk")] = False
    include_obfuscation: Off | None = None


class Parameters(Steering):
    """What both endpoints take. A sampling parameter that is unset takes the model's default."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    max_tokens: Count | None = None
    min_tokens: Annotated[int, Field(ge=0)] = 0
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31, description="-1 and 0: off")] | None = None
    min_p: Unit | None = None
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] = 1
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False, description="seconds the request may take")] | None = (
        None
    )
    priority: Annotated[int, Field(ge=-1000, le=1000, description="a lower one is earlier; from 1 on: batch lane")] = 0
    stop: Stop = Field(default_factory=list)
    stop_token_ids: Annotated[list[TokenId], Field(fail_fast=True, max_length=256)] = Field(default_factory=list)
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: Annotated[bool, Field(description="no effect")] = True
    truncate_prompt_tokens: Kept | None = None
    truncation_side: Literal["left"] | None = None
    add_special_tokens: Annotated[bool, Field(description="to texts: true for prompts, false for chats")] | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: Inert | None = None
    metadata: Annotated[dict[MetaKey, MetaValue], Field(max_length=16, description="no effect")] | None = None
    store: Off | None = None
    service_tier: Literal["auto"] | None = None
    safety_identifier: Inert | None = None
    prompt_cache_key: Inert | None = None
    prompt_logprobs: TopLogprobs | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None

    @property
    def grammar(self) -> tuple[str, str]:
        """(what the answer must match, the parameter that says so); both "" for anything. Raises ClientError."""
        return grammar_of(self.response_format, self.structured_outputs)

    @property
    def prompt_scores(self) -> int:
        """How many of the likeliest tokens are told beside each of the prompt; -1: no logprobs of it at all."""
        return -1 if self.prompt_logprobs is None else self.prompt_logprobs

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def continuous_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.continuous_usage_stats

    @property
    def output_limit(self) -> tuple[str, int | None]:
        """Which field bounds the output, and what it says."""
        return "max_tokens", self.max_tokens


class ChatBody(Conversation, ToolUse, Parameters):
    refused: ClassVar[Refusals] = CHAT

    max_completion_tokens: Count | None = None
    logprobs: bool = False
    top_logprobs: TopLogprobs | None = None

    @property
    def top_scores(self) -> int:
        """How many of the likeliest tokens are told beside each; -1: no logprobs at all."""
        return (self.top_logprobs or 0) if self.logprobs else -1

    @property
    def output_limit(self) -> tuple[str, int | None]:
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return "max_tokens", self.max_tokens


class CompletionBody(Parameters):
    refused: ClassVar[Refusals] = COMPLETION

    prompt: Prompts
    logprobs: Annotated[TopLogprobs | None, Field(description="how many of the likeliest beside each token")] = None
    echo: bool = False

    @property
    def top_scores(self) -> int:
        return -1 if self.logprobs is None else self.logprobs

    @property
    def prompt_scores(self) -> int:
        return max(super().prompt_scores, self.top_scores if self.echo else -1)


def least_output(body: ChatBody | CompletionBody) -> int:
    """For how many tokens there has to be room behind a prompt: what is asked for, or what is meant if nothing is."""
    asked = body.output_limit[1]
    if asked is None:
        asked = 1 if isinstance(body, ChatBody) else DEFAULT_COMPLETION_TOKENS
    return max(asked, body.min_tokens)


def check(body: ChatBody | CompletionBody) -> None:
    """What no single field can say. Raises ClientError."""
    if body.stream_options is not None and not body.stream:
        raise _refusal("stream_options", "stream_options needs stream: true")
    if body.continuous_usage and not body.include_usage:
        param = "stream_options.continuous_usage_stats"
        raise _refusal(param, f"{param} needs include_usage: true")
    if body.stream and body.prompt_logprobs is not None:
        raise _refusal("prompt_logprobs", "prompt_logprobs come with a whole answer: send stream: false")
    if isinstance(body, ChatBody) and body.top_logprobs is not None and not body.logprobs:
        raise _refusal("top_logprobs", "top_logprobs needs logprobs: true")
    if isinstance(body, ChatBody) and len({body.max_tokens, body.max_completion_tokens} - {None}) > 1:
        raise _refusal("max_tokens", "max_tokens and max_completion_tokens differ: send one of them")
    if isinstance(body, ChatBody):
        check_conversation(body)
        check_tools(body)
    name, limit = body.output_limit
    if limit is not None and body.min_tokens > limit:
        raise _refusal("min_tokens", f"min_tokens must be at most {name} ({limit}), not {body.min_tokens}")
    prompts: Sequence[object] = body.prompt if isinstance(body, CompletionBody) else (None,)
    if body.n * len(prompts) > MAX_CHOICES:
        raise _refusal("n", f"n times the number of prompts must be at most {MAX_CHOICES}, not {body.n * len(prompts)}")
    check_form(body, body.grammar, body.n * len(prompts))


def check_form(body: ChatBody | CompletionBody, form: tuple[str, str], choices: int) -> None:
    """An answer in a form ends where the form does: what forbids its end contradicts it. Raises ClientError."""
    grammar, param = form
    check_volume(grammar, choices, param)
    for name in ("min_tokens", "ignore_eos"):
        if grammar and getattr(body, name):
            raise _refusal(name, f"{name} and {param} exclude each other")


def _refusal(param: str, message: str) -> ClientError:
    return ClientError(message, param=param, code="invalid_value")
