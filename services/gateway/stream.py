"""A mailbox to the client's HTTP response: the bytes are relayed unopened; comments are added, `id:` lines may go.

The status waits for the first frame, so that an early error keeps its own; if none comes for a while, the headers of a
stream and a comment go first. What fails after that ends the stream with one of OpenAI's error events.
"""

import asyncio
import logging
import re

import orjson
from aiohttp import web

from services.gateway.replies import Mailbox, Superseded
from shared.errors import SluiceError
from shared.frames import Frame
from shared.types import ParentId

log = logging.getLogger(__name__)

_ID_LINE = re.compile(r"^id: .*\n", re.MULTILINE)  # data is JSON on one line, so no text can look like this
KEEP_ALIVE = b": keep-alive\n\n"
STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would collect the stream
}


async def answer(mailbox: Mailbox) -> web.Response:
    """The whole answer, which is one frame."""
    frame = await mailbox.receive()
    assert frame is not None  # without a limit, it comes
    return _plain(frame)


class Stream:
    """One SSE response. `keep_alive_s` is the silence a comment ends, `stall_s` the time a write may take.

    `ids`: the client reads event streams in full. Without it the frames are OpenAI's and nothing else (ADR 4).
    """

    def __init__(
        self, request: web.Request, mailbox: Mailbox, *, ids: bool, keep_alive_s: float, stall_s: float
    ) -> None:
        self._request = request
        self._mailbox = mailbox
        self._ids = ids
        self._keep_alive_s = keep_alive_s
        self._stall_s = stall_s

    async def relay(self) -> web.StreamResponse:
        """Until the last frame. An error before anything was sent is an answer of its own."""
        frame = await self._mailbox.receive(self._keep_alive_s)
        if frame is not None and _is_body(frame):
            return _plain(frame)
        response = web.StreamResponse(headers=STREAM_HEADERS | _names(self._mailbox.parent))
        await response.prepare(self._request)
        try:
            await self._write(response, frame)
            while frame is None or not frame.last:
                frame = await self._mailbox.receive(self._keep_alive_s)
                await self._write(response, frame)
        except Superseded:
            log.info("%s goes on in another response", self._mailbox.parent)
        except (ConnectionError, TimeoutError) as error:
            log.info("a client has gone or does not read: %r", error)
            _abort(self._request)
            return response
        except Exception:
            log.exception("a stream broke")
            await response.write(_event(orjson.dumps(SluiceError("internal error").body())))
        await response.write_eof()
        return response

    async def _write(self, response: web.StreamResponse, frame: Frame | None) -> None:
        if frame is None:
            data = KEEP_ALIVE
        elif _is_body(frame):  # too late for a status of its own
            data = _event(_body(frame).encode())
        else:
            data = (frame.data if self._ids else _ID_LINE.sub("", frame.data)).encode()
        if data:
            async with asyncio.timeout(self._stall_s):
                await response.write(data)


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _is_body(frame: Frame) -> bool:
    """An error, or the answer to a request that did not ask for a stream: whole JSON, no events."""
    return frame.status != 200 or frame.data.startswith("{")


def _body(frame: Frame) -> str:
    return frame.data or orjson.dumps(SluiceError("the request was cancelled", code="cancelled").body()).decode()


def _plain(frame: Frame) -> web.Response:
    headers = _names(frame.parent) | ({"Retry-After": "1"} if frame.status in (429, 503) else {})
    return web.Response(text=_body(frame), status=frame.status, headers=headers, content_type="application/json")


def _names(parent: ParentId) -> dict[str, str]:
    return {"X-Request-Id": parent}


def _abort(request: web.Request) -> None:
    """Let go of the connection without waiting for what it still holds."""
    if request.transport is not None:
        request.transport.abort()
