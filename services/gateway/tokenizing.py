"""`/tokenize` and `/detokenize`: what a text is to the model, and back; as vLLM has them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import orjson
from aiohttp import web
from pydantic import ConfigDict, Field

from services.gateway.body import Body, TokenId
from services.gateway.conversation import Messages, TemplateKwargs, check_conversation
from services.gateway.deps import DEPS, Deps
from services.gateway.handlers import read_body
from services.gateway.model import Loaded
from services.gateway.openai import ChatBody
from services.gateway.refusals import TOKENIZE, Refusals
from services.gateway.tools import Tools, check_tools
from services.gateway.validation import shaped
from shared.errors import ClientError

OF_CHATS = ("add_generation_prompt", "continue_final_message", "chat_template_kwargs", "tools")
MOST_TOKENS = 1 << 20  # to detokenize; the bound of a body is reached at about as many


class Named(Body):
    """There is one model, so nobody needs to name it."""

    model: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class TokenizeBody(Named):
    """`prompt` or `messages`, and of a chat what changes its prompt. Special tokens are added to a prompt unless told
    otherwise; a template writes its own."""

    refused: ClassVar[Refusals] = TOKENIZE

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["prompt"]}, {"required": ["messages"]}]})

    prompt: str | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool = False
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    chat_template_kwargs: TemplateKwargs | None = None
    tools: Tools | None = None

    @property
    def asked(self) -> str | ChatBody:
        """The text, or the chat. Raises ClientError if it is neither, both, or no chat that would be answered."""
        if (self.prompt is None) == (self.messages is None):
            raise ClientError("send either prompt or messages", param="prompt", code="invalid_value")
        fields: dict[str, Any] = {name: getattr(self, name) for name in OF_CHATS if name in self.model_fields_set}
        if self.prompt is not None:
            for name in fields:
                raise ClientError(f"{name} needs messages", param=name, code="invalid_value")
            return self.prompt
        chat = ChatBody(model=self.model or "any", messages=self.messages or [], **fields)
        check_conversation(chat)
        check_tools(chat)
        return chat


class DetokenizeBody(Named):
    tokens: Annotated[list[TokenId], Field(fail_fast=True, max_length=MOST_TOKENS)]


N = TypeVar("N", bound=Named)


async def tokenize(request: web.Request) -> web.Response:
    with request.app[DEPS].admission.slot():
        deps, body, loaded = await _asked(request, TokenizeBody)
        asked, limits = body.asked, await deps.cluster.limits()
        special = isinstance(asked, str) if body.add_special_tokens is None else body.add_special_tokens
        ids, written = await loaded.encoder.tokenize(asked, limits, special=special)
        told = written if body.return_token_strs else None
        fields = {"count": len(ids), "max_model_len": limits.max_model_len, "tokens": ids, "token_strs": told}
        return _json(fields)


async def detokenize(request: web.Request) -> web.Response:
    with request.app[DEPS].admission.slot():
        deps, body, loaded = await _asked(request, DetokenizeBody)
        ids = tuple(body.tokens)
        (await deps.cluster.limits()).check_ids(ids, "tokens")
        return _json({"prompt": await loaded.encoder.detokenize(ids)})


async def _asked(request: web.Request, kind: type[N]) -> tuple[Deps, N, Loaded]:
    """Raises ClientError, NotFound for another model, Unavailable while it loads."""
    deps = request.app[DEPS]
    body = shaped(kind, await read_body(request, deps.config.body_timeout_s))
    return deps, body, deps.model.find(deps.config.name if body.model is None else body.model)


def _json(fields: Mapping[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(fields), content_type="application/json")
