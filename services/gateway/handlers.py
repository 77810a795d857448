"""One coroutine per endpoint of OpenAI's API that generates."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from aiohttp import hdrs, web

from services.gateway import idempotency
from services.gateway.caller import lane_of, life_s, read_timeout_s, tenant_of
from services.gateway.deps import DEPS, Deps
from services.gateway.fanout import Call, fan_out
from services.gateway.idempotency import Claim, Earlier
from services.gateway.leaving import HEADER, Leaving, leaving
from services.gateway.metering import reserve, settled
from services.gateway.openai import ChatBody, CompletionBody, check_form
from services.gateway.queue import Place
from services.gateway.replies import Mailbox
from services.gateway.stream import Stream, answer
from services.gateway.trace import TRACE, Trace
from services.gateway.validation import parse
from shared.bus import BusDown, Holder
from shared.errors import BodyTimeout, ClientError, Unavailable, Unprocessable
from shared.messages import GenerateRequest
from shared.types import ParentId, parent_id

log = logging.getLogger(__name__)

CANCEL_S = 2.0  # for a cancel to reach the bus

B = TypeVar("B", ChatBody, CompletionBody)


async def chat_completions(request: web.Request) -> web.StreamResponse:
    return await _generate(request, ChatBody, "chatcmpl")


async def completions(request: web.Request) -> web.StreamResponse:
    return await _generate(request, CompletionBody, "cmpl")


async def _generate(request: web.Request, kind: type[B], prefix: str) -> web.StreamResponse:
    """Validate, encode, submit, relay; or read what an earlier call under the same key has started."""
    deps, trace = request.app[DEPS], request[TRACE]
    key = idempotency.key_of(request)
    policy = leaving(request.headers.get(HEADER), deps.config.orphan_s, retries=key is not None)
    with deps.admission.slot():
        if key is None:  # a retry may find its answer
            deps.queue.check()
        body = parse(kind, await read_body(request, deps.config.body_timeout_s))
        deps.model.check_name(body.model)
        claim = idempotency.claim_of(request, key, body) if key is not None else None
        earlier = await _earlier(deps, claim)
        if earlier is not None and not earlier.failed:
            return await _follow(request, earlier.parent, body.stream)
        loaded = deps.model.find(body.model)
        limits = await deps.cluster.limits()
        call = Call(
            parent=parent_id(prefix, deps.now_ms() // 1000, deps.nonce()),
            gateway=deps.gateway,
            shards=deps.config.shards,
            seed=deps.seed(),
            now_ms=deps.now_ms(),
            unread_s=policy.unread_s,
            deadline_ms=deps.cluster.clock.now_ms() + round(_life_s(request, body) * 1000),
            lane=lane_of(request.headers, body.priority),
            tenant=tenant_of(request.headers, deps.config.internal_token),
            traceparent=str(trace.send),
        )
        trace.tokenizes()
        encoder = loaded.encoder
        prompts, banned = await encoder.encode(body, limits), await encoder.banned(body.bad_words)
        form = encoder.grammar(body, prompts[0])
        await _check_form(deps, body, form, len(prompts))
        requests = fan_out(body, prompts, loaded.model, limits, call, banned, form[0])
        reserve(request, requests)
        try:
            with deps.queue.place(requests) as place:
                async with _submitted(deps, trace, requests, policy, claim, earlier) as mailbox:
                    with settled(request, requests, mailbox, policy):
                        return await _reply(request, mailbox, body.stream, place)
        except _Taken as taken:
            return await _follow(request, taken.parent, body.stream)


async def _check_form(deps: Deps, body: ChatBody | CompletionBody, form: tuple[str, str], prompts: int) -> None:
    grammar, param = form
    if grammar:
        check_form(body, form, body.n * prompts)
        await deps.checker.check(grammar, param)


def _life_s(request: web.Request, body: ChatBody | CompletionBody) -> float:
    """A client with an idempotency key asks again after its read timeout, and wants the same answer."""
    patience = {} if idempotency.HEADER in request.headers else request.headers
    return life_s(body, patience, request.app[DEPS].config.request_timeout_s)


async def _earlier(deps: Deps, claim: Claim | None) -> Earlier | None:
    try:
        return await idempotency.find(deps.bus, claim) if claim is not None else None
    except BusDown as error:
        raise Unavailable("the bus does not answer") from error


async def _follow(request: web.Request, parent: ParentId, streams: bool) -> web.StreamResponse:
    """What another call has started, from its beginning."""
    request[TRACE].follows(parent)
    with request.app[DEPS].replies.follow(parent) as mailbox:
        await mailbox.attach()
        return await _reply(request, mailbox, streams)


async def _reply(
    request: web.Request, mailbox: Mailbox, streams: bool, place: Place | None = None
) -> web.StreamResponse:
    if streams:
        return await relay(request, mailbox, _reads_ids(request), place)
    return await answer(mailbox, request[TRACE], place)


async def relay(request: web.Request, mailbox: Mailbox, ids: bool, place: Place | None = None) -> web.StreamResponse:
    config = request.app[DEPS].config
    silence_s = min(config.keep_alive_s, read_timeout_s(request.headers) / 2)  # a comment is a byte too
    stream = Stream(request, mailbox, ids=ids, keep_alive_s=silence_s, stall_s=config.stall_timeout_s, place=place)
    return await stream.relay()


class _Taken(Exception):
    """Another call has come first under the same idempotency key."""

    def __init__(self, parent: ParentId) -> None:
        super().__init__(parent)
        self.parent = parent


@asynccontextmanager
async def _submitted(
    deps: Deps,
    trace: Trace,
    requests: Sequence[GenerateRequest],
    policy: Leaving,
    claim: Claim | None,
    earlier: Earlier | None,
) -> AsyncIterator[Mailbox]:
    """The mailbox of requests that are on the bus. If its client leaves before the end, they are cancelled if it wants
    that and nobody else reads them here. The mailbox is there first: no frame can come before somebody waits for it.

    Raises _Taken: nothing was submitted."""
    parent = requests[0].parent_id
    with deps.replies.open(parent) as mailbox:
        try:
            trace.sends(requests)
            await _submit(deps, parent, requests, claim, earlier)
            await mailbox.announce()
            trace.sent()
            again = partial(_submit, deps, parent, requests, claim, earlier)
            with deps.submissions.hold(parent, partial(_repeat, again)):
                yield mailbox
        except (_Taken, Unprocessable):
            mailbox.ended = True  # it never began
            raise
        finally:
            left = not mailbox.ended and not deps.admission.abandoned
            if left and policy.cancels and not deps.replies.followed(parent):
                trace.cancels(parent)
                await cancel(deps, parent, "disconnect")


async def _submit(
    deps: Deps, parent: ParentId, requests: Sequence[GenerateRequest], claim: Claim | None, earlier: Earlier | None
) -> None:
    requests = [replace(request, sent_ms=time.time() * 1000) for request in requests]
    try:
        if claim is None:
            await deps.bus.submit(parent, requests)
            return
        keep_ms, after = round(deps.config.idempotency_s * 1000), earlier.parent if earlier else ""
        holder = await deps.bus.submit_as(claim.key, Holder(parent, claim.digest), requests, keep_ms, after)
    except BusDown as error:
        raise Unavailable("the bus does not answer") from error
    if holder.parent != parent:
        claim.check(holder)
        raise _Taken(holder.parent)


async def _repeat(submit: Callable[[], Awaitable[None]]) -> None:
    """Under an idempotency key somebody else may have come first on a bus that had forgotten us."""
    try:
        await submit()
    except (_Taken, Unprocessable) as error:
        log.warning("a request is not submitted again: %s", error)
    except Unavailable as error:
        raise BusDown(str(error)) from error


async def cancel(deps: Deps, parent: ParentId, reason: str) -> None:
    """Best effort, in a short time: a lost cancel costs work, nothing else."""
    deps.tracing.instruments.cancelled(reason)
    try:
        async with asyncio.timeout(CANCEL_S):
            await deps.bus.cancel(parent, reason)
    except (BusDown, TimeoutError) as error:
        log.warning("a cancelled request runs on: %r", error)


async def read_body(request: web.Request, timeout_s: float) -> bytes:
    """Raises ClientError for what is not JSON or cannot be unpacked, BodyTimeout."""
    if request.content_type != "application/json":
        kind = request.headers.get(hdrs.CONTENT_TYPE, "none")[:100]
        raise ClientError(f"Content-Type must be application/json, not {kind}", code="unsupported_media_type")
    try:
        async with asyncio.timeout(timeout_s):
            return await request.read()
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {timeout_s:g} s") from None
    except web.RequestPayloadError:
        encoding = request.headers.get(hdrs.CONTENT_ENCODING, "none")[:100]
        raise ClientError(f"the body cannot be read (Content-Encoding: {encoding})", code="invalid_body") from None


def _reads_ids(request: web.Request) -> bool:
    """A client that names the media type knows the standard; many others take a frame apart by hand (ADR 4)."""
    return "text/event-stream" in request.headers.get(hdrs.ACCEPT, "")
