"""Every operation of the API, as `/openapi.json` tells it. A route that is missing here fails a test."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.gateway import docs
from services.gateway.caller import LANE
from services.gateway.idempotency import HEADER as IDEMPOTENCY
from services.gateway.leaving import HEADER as ON_DISCONNECT
from services.gateway.timeline import routes as timeline

JSON, EVENTS, TEXT, ANY_JSON = "application/json", "text/event-stream", "text/plain", "object"
STREAM_ID = "^(chatcmpl|cmpl)-[0-9a-f]{32}$"


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    where: str
    about: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`answers`: media type to the name of a schema, "" for none; without any it is 204."""

    method: str
    path: str
    tag: str
    name: str
    summary: str
    about: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    example: Mapping[str, Any] | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    open: bool = False  # needs no key
    headers: tuple[str, ...] = ()


def _text(**bounds: Any) -> Mapping[str, Any]:
    return {"type": "string", **bounds}


_HEADERS = (
    Parameter(IDEMPOTENCY, "header", "a repeated call runs once", _text(pattern="^[!-~]{1,255}$")),
    Parameter(
        ON_DISCONNECT,
        "header",
        "what the client's leaving means: cancel, continue, or detach=SECONDS up to a day",
        _text(pattern="^(cancel|continue|detach=[0-9]{1,4})$", default="cancel"),
    ),
    Parameter(LANE, "header", "batch goes behind all interactive ones", _text(enum=["interactive", "batch"])),
)
_STREAM = Parameter("id", "path", "the X-Request-Id of the call: who knows it may read", _text(pattern=STREAM_ID))
_AFTER = _text(maxLength=8192, pattern="^[0-9,]*$")
_RATES = ("X-RateLimit",)
_GENERATES: dict[str, Any] = {
    "method": "post",
    "tag": "generate",
    "about": "With `stream` the answer comes as events, and errors after the first of them as one more.",
    "parameters": _HEADERS,
    "errors": (400, 401, 404, 408, 413, 422, 429, 499, 500, 503, 504),
    "headers": ("X-Request-Id", "X-Queue-Position", "X-Queue-Estimate-Seconds", *_RATES),
}
_TOKENS: dict[str, Any] = {
    "method": "post",
    "tag": "tokens",
    "errors": (400, 401, 404, 408, 413, 429, 500, 503),
    "headers": _RATES,
}

OPERATIONS = (
    Operation(
        path="/v1/chat/completions",
        name="chat",
        summary="Answer a chat",
        body="ChatBody",
        answers={JSON: "Chat", EVENTS: "ChatChunk"},
        example={"messages": [{"role": "user", "content": "What is Sluice?"}], "stream": True},
        **_GENERATES,
    ),
    Operation(
        path="/v1/completions",
        name="completion",
        summary="Continue a text",
        body="CompletionBody",
        answers={JSON: "Completion", EVENTS: "Completion"},
        example={"prompt": "Once upon a time", "max_tokens": 64},
        **_GENERATES,
    ),
    Operation(
        path="/tokenize",
        name="tokenize",
        summary="Text or messages to token ids",
        body="TokenizeBody",
        answers={JSON: "Tokenized"},
        example={"prompt": "Once upon a time", "return_token_strs": True},
        **_TOKENS,
    ),
    Operation(
        path="/detokenize",
        name="detokenize",
        summary="Token ids to text",
        body="DetokenizeBody",
        answers={JSON: "Detokenized"},
        example={"tokens": [72, 101, 108]},
        **_TOKENS,
    ),
    Operation(
        method="get",
        path="/v1/models",
        tag="models",
        name="listModels",
        summary="List the served model",
        answers={JSON: "Models"},
        errors=(401, 500),
    ),
    Operation(
        method="get",
        path="/v1/models/{id}",
        tag="models",
        name="model",
        summary="The served model",
        parameters=(Parameter("id", "path", "its name, slashes and all", _text(minLength=1)),),
        answers={JSON: "Model"},
        errors=(401, 404, 500),
    ),
    Operation(
        method="get",
        path="/v1/streams/{id}",
        tag="streams",
        name="resume",
        summary="Go on reading a stream",
        about="Everything behind an event, then live; at any gateway. A call that did not stream answers in one piece.",
        parameters=(
            _STREAM,
            Parameter("Last-Event-ID", "header", "the id of the last event that was read", _AFTER),
            Parameter("starting_after", "query", "the same, for who can set no header", _AFTER),
        ),
        answers={EVENTS: "", JSON: ANY_JSON},
        errors=(400, 401, 404, 410, 429, 499, 500, 503, 504),
        open=True,
        headers=("X-Request-Id",),
    ),
    Operation(
        method="post",
        path="/v1/streams/{id}/cancel",
        tag="streams",
        name="cancel",
        summary="End a request",
        parameters=(_STREAM,),
        errors=(401, 404, 500, 503),
        open=True,
    ),
    Operation(
        method="get",
        path="/health",
        tag="service",
        name="health",
        summary="Is the process alive?",
        answers={JSON: "Health"},
        errors=(500,),
        open=True,
    ),
    Operation(
        method="get",
        path="/ready",
        tag="service",
        name="ready",
        summary="Would a request be served?",
        about="503 with the same body if not.",
        answers={JSON: "Ready"},
        errors=(500,),
        open=True,
    ),
    Operation(
        method="get",
        path="/metrics",
        tag="service",
        name="metrics",
        summary="Prometheus metrics",
        answers={TEXT: ""},
        errors=(401, 500),
    ),
    Operation(
        method="get",
        path=timeline.PAGE,
        tag="service",
        name="timeline",
        summary="A page that draws what all services did a moment ago",
        answers={"text/html": ""},
        errors=(401, 500),
        open=True,
    ),
    Operation(
        method="get",
        path=timeline.DATA,
        tag="service",
        name="timelineData",
        summary="The last seconds of all services as Chrome trace events, for Perfetto",
        parameters=(
            Parameter("seconds", "query", "how far back", {"type": "number", "minimum": 0.001, "maximum": 300}),
            Parameter("request", "query", "the X-Request-Id of a call, whose trace is marked", _text(maxLength=200)),
        ),
        answers={JSON: ANY_JSON},
        errors=(400, 401, 500),
    ),
    Operation(
        method="get",
        path="/openapi.json",
        tag="service",
        name="document",
        summary="This document",
        answers={JSON: ANY_JSON},
        errors=(401, 500),
    ),
    *(
        Operation(
            method="get",
            path=path,
            tag="service",
            name=name,
            summary="This document as a page" if path == docs.PAGE else "A part of that page",
            answers={media: ""},
            errors=(401, 500),
            open=True,
        )
        for path, (name, media) in docs.FILES.items()
    ),
)
