"""`/tokenize` and `/detokenize`: what a text is to the model, and back; as vLLM has them."""

from collections.abc import Mapping
from typing import Annotated, TypeVar

import orjson
from aiohttp import web
from pydantic import ConfigDict, Field

from services.gateway.body import Body, TokenId
from services.gateway.conversation import Message, check_messages
from services.gateway.deps import DEPS, Deps
from services.gateway.handlers import read_body
from services.gateway.model import Loaded
from services.gateway.validation import shaped
from shared.errors import ClientError

MOST_TOKENS = 1 << 20  # to detokenize; the bound of a body is reached at about as many


class Named(Body):
    """There is one model, so nobody needs to name it."""

    model: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class TokenizeBody(Named):
    """`prompt` or `messages`. Special tokens are added to a prompt unless told otherwise; a template writes its own."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["prompt"]}, {"required": ["messages"]}]})

    prompt: str | None = None
    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1, max_length=4096)] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool = False


class DetokenizeBody(Named):
    tokens: Annotated[list[TokenId], Field(fail_fast=True, max_length=MOST_TOKENS)]


N = TypeVar("N", bound=Named)


async def tokenize(request: web.Request) -> web.Response:
    with request.app[DEPS].admission.slot():
        deps, body, loaded = await _asked(request, TokenizeBody)
        if (body.prompt is None) == (body.messages is None):
            raise ClientError("send either prompt or messages", param="prompt", code="invalid_value")
        check_messages(body.messages or ())
        limits = deps.cluster.limits()
        asked = body.prompt if body.prompt is not None else [message.plain() for message in body.messages or ()]
        special = isinstance(asked, str) if body.add_special_tokens is None else body.add_special_tokens
        ids, written = await loaded.encoder.tokenize(asked, limits, special=special)
        told = written if body.return_token_strs else None
        fields = {"count": len(ids), "max_model_len": limits.max_model_len, "tokens": ids, "token_strs": told}
        return _json(fields)


async def detokenize(request: web.Request) -> web.Response:
    with request.app[DEPS].admission.slot():
        deps, body, loaded = await _asked(request, DetokenizeBody)
        ids = tuple(body.tokens)
        deps.cluster.limits().check_ids(ids, "tokens")
        return _json({"prompt": await loaded.encoder.detokenize(ids)})


async def _asked(request: web.Request, kind: type[N]) -> tuple[Deps, N, Loaded]:
    """Raises ClientError, NotFound for another model, Unavailable while it loads."""
    deps = request.app[DEPS]
    body = shaped(kind, await read_body(request, deps.config.body_timeout_s))
    return deps, body, deps.model.find(deps.config.name if body.model is None else body.model)


def _json(fields: Mapping[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(fields), content_type="application/json")
