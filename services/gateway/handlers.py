"""One coroutine per endpoint of OpenAI's API that generates."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, TypeVar

from aiohttp import hdrs, web

from services.gateway.deps import DEPS, Deps
from services.gateway.fanout import Call, fan_out
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.replies import Mailbox
from services.gateway.stream import Stream, answer
from services.gateway.validation import parse
from shared.bus import BusDown
from shared.errors import ClientError, Unavailable
from shared.messages import GenerateRequest
from shared.types import ParentId

log = logging.getLogger(__name__)

ON_DISCONNECT = "X-On-Disconnect"
CANCEL_S = 2.0  # for a cancel to reach the bus
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Policy = Literal["cancel", "continue"]
B = TypeVar("B", ChatBody, CompletionBody)


async def chat_completions(request: web.Request) -> web.StreamResponse:
    return await _generate(request, ChatBody, "chatcmpl")


async def completions(request: web.Request) -> web.StreamResponse:
    return await _generate(request, CompletionBody, "cmpl")


async def _generate(request: web.Request, kind: type[B], prefix: str) -> web.StreamResponse:
    """Validate, encode, submit, relay."""
    deps = request.app[DEPS]
    policy = _policy(request)
    with deps.admission.slot():
        body = parse(kind, await _read(request, deps.config.body_timeout_s))
        loaded = deps.model.find(body.model)
        limits = deps.cluster.limits()
        call = Call(
            parent=f"{prefix}-{deps.nonce()}",
            gateway=deps.gateway,
            shards=deps.config.shards,
            seed=deps.seed(),
            now_ms=deps.now_ms(),
            traceparent=_traceparent(request),
        )
        requests = fan_out(body, await loaded.encoder.encode(body, limits), loaded.model, limits, call)
        async with _submitted(deps, call.parent, requests, policy) as mailbox:
            return await (relay(request, mailbox, _reads_ids(request)) if body.stream else answer(mailbox))


async def relay(request: web.Request, mailbox: Mailbox, ids: bool) -> web.StreamResponse:
    config = request.app[DEPS].config
    stream = Stream(request, mailbox, ids=ids, keep_alive_s=config.keep_alive_s, stall_s=config.stall_timeout_s)
    return await stream.relay()


@asynccontextmanager
async def _submitted(
    deps: Deps, parent: ParentId, requests: Sequence[GenerateRequest], policy: Policy
) -> AsyncIterator[Mailbox]:
    """The mailbox of requests that are on the bus. Who leaves before the end cancels them, unless the policy is another
    or another reader has come. The mailbox is there first: no frame can come before somebody waits for it."""
    with deps.replies.open(parent) as mailbox:
        try:
            await _submit(deps, parent, requests)
            await mailbox.announce()
            yield mailbox
        finally:
            if policy == "cancel" and not mailbox.ended and not mailbox.superseded and not deps.admission.abandoned:
                await cancel(deps, parent, "disconnect")


async def _submit(deps: Deps, parent: ParentId, requests: Sequence[GenerateRequest]) -> None:
    try:
        await deps.bus.submit(parent, requests)
    except BusDown as error:
        raise Unavailable("the bus does not answer") from error


async def cancel(deps: Deps, parent: ParentId, reason: str) -> None:
    """Best effort, in a short time: a lost cancel costs work, nothing else."""
    try:
        async with asyncio.timeout(CANCEL_S):
            await deps.bus.cancel(parent, reason)
    except (BusDown, TimeoutError) as error:
        log.warning("a cancelled request runs on: %r", error)


async def _read(request: web.Request, timeout_s: float) -> bytes:
    if request.content_type != "application/json":
        kind = request.headers.get(hdrs.CONTENT_TYPE, "none")[:100]
        raise ClientError(f"Content-Type must be application/json, not {kind}", code="unsupported_media_type")
    try:
        async with asyncio.timeout(timeout_s):
            return await request.read()
    except TimeoutError:
        raise ClientError(f"the body did not arrive within {timeout_s:g} s", code="body_timeout") from None
    except web.RequestPayloadError:
        encoding = request.headers.get(hdrs.CONTENT_ENCODING, "none")[:100]
        raise ClientError(f"the body cannot be read (Content-Encoding: {encoding})", code="invalid_body") from None


def _policy(request: web.Request) -> Policy:
    match request.headers.get(ON_DISCONNECT, "cancel").strip().lower():
        case "cancel":
            return "cancel"
        case "continue":
            return "continue"
        case other:
            message = f"{ON_DISCONNECT} must be cancel or continue, not {other[:100]}"
            raise ClientError(message, param=ON_DISCONNECT, code="invalid_value")


def _reads_ids(request: web.Request) -> bool:
    """A client that names the media type knows the standard; many others take a frame apart by hand (ADR 4)."""
    return "text/event-stream" in request.headers.get(hdrs.ACCEPT, "")


def _traceparent(request: web.Request) -> str | None:
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else None
