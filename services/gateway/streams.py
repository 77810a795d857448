"""A stream under its own address: who knows its id may go on reading or end it, at any gateway."""

import re

from aiohttp import web

from services.gateway.deps import DEPS
from services.gateway.handlers import relay
from services.gateway.trace import TRACE
from shared.bus import BusDown
from shared.errors import ClientError, NotFound, Unavailable
from shared.types import ParentId

MAX_CURSOR = 8192
_CURSOR = re.compile(r"[0-9,]*")
_ID = re.compile(r"(chatcmpl|cmpl)-[0-9a-f]{32}")


async def resume(request: web.Request) -> web.StreamResponse:
    """Everything after `Last-Event-ID` (or `?starting_after=`), then live. Any number may read; when the last of them
    leaves, the request's own word for that counts (`X-On-Disconnect`)."""
    deps = request.app[DEPS]
    parent = _id(request)
    cursor = request.headers.get("Last-Event-ID") or request.query.get("starting_after", "")
    if len(cursor) > MAX_CURSOR or not _CURSOR.fullmatch(cursor):
        raise ClientError("this is not the id of an event of this stream", param="starting_after", code="invalid_value")
    request[TRACE].follows(parent)
    with deps.admission.slot(), deps.replies.follow(parent, cursor) as mailbox:
        await mailbox.attach()
        return await relay(request, mailbox, ids=True)


async def cancel(request: web.Request) -> web.Response:
    deps, parent = request.app[DEPS], _id(request)
    request[TRACE].cancels(parent)
    deps.tracing.instruments.cancelled("client")
    try:
        await deps.bus.cancel(parent, "client")
    except BusDown as error:
        raise Unavailable("the bus does not answer") from error
    return web.Response(status=204)


def _id(request: web.Request) -> ParentId:
    parent = request.match_info["id"]
    if not _ID.fullmatch(parent):
        raise NotFound("there is no such stream", param="id", code="stream_not_found")
    return parent
