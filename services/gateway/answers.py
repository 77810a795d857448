"""What the API answers, for `/openapi.json`. The services that write answers do not use these; tests compare."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Reason = Literal["stop", "length", "tool_calls"]
Role = Literal["assistant"]
Optional = Field(default=None)


class Answer(BaseModel):
    """Fields may be added."""

    model_config = ConfigDict(extra="allow")


class PromptDetails(Answer):
    cached_tokens: int


class CompletionDetails(Answer):
    reasoning_tokens: Annotated[int | None, Optional]


class Usage(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: Annotated[CompletionDetails | None, Optional]


class AnswerMessage(Answer):
    role: Role
    content: str | None
    refusal: str | None


class ChatChoice(Answer):
    index: int
    message: AnswerMessage
    logprobs: dict[str, Any] | None
    finish_reason: Reason


class Chat(Answer):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Delta(Answer):
    role: Annotated[Role | None, Optional]
    content: Annotated[str | None, Optional]


class ChunkChoice(Answer):
    index: int
    delta: Delta
    logprobs: dict[str, Any] | None
    finish_reason: Reason | None


class ChatChunk(Answer):
    """The `data` of one event; the last one is `[DONE]`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Annotated[Usage | None, Optional]


class CompletionChoice(Answer):
    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Reason | None


class Completion(Answer):
    """Also the `data` of one event, where it has no usage; the last one is `[DONE]`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Annotated[Usage | None, Optional]


class Model(Answer):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: Annotated[int | None, Field(description="tokens, prompt and output; null while no engine is ready")]


class Models(Answer):
    object: Literal["list"]
    data: list[Model]


class Tokenized(Answer):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: Annotated[list[str] | None, Field(description="as the vocabulary writes them, if asked for")]


class Detokenized(Answer):
    prompt: str


class Health(Answer):
    status: Literal["ok"]


class Ready(Answer):
    ready: bool
    message: str
    progress: Annotated[float | None, Field(description="0 to 1 while something loads")]


class ErrorDetail(Answer):
    message: str
    type: str
    param: Annotated[str | None, Field(description="the field or header that is wrong")]
    code: str | None


class Error(BaseModel):
    error: ErrorDetail


ANSWERS = (Chat, ChatChunk, Completion, Model, Models, Tokenized, Detokenized, Health, Ready, Error)
