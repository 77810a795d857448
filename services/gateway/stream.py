"""A mailbox to the client's HTTP response: the bytes are relayed unopened; comments are added, `id:` lines may go.

The status waits for the first frame, so that an early error keeps its own; if none comes for a while, the headers of a
stream and a comment go first. What fails after that ends the stream with one of OpenAI's error events.
"""

import asyncio
import logging
import re

import orjson
from aiohttp import hdrs, web

from services.gateway.queue import Place
from services.gateway.replies import Mailbox
from services.gateway.trace import TRACE, Trace
from shared.errors import SluiceError, advice
from shared.frames import Frame
from shared.telemetry.spans import now_ns
from shared.types import ParentId

log = logging.getLogger(__name__)

_ID_LINE = re.compile(r"^id: .*\n", re.MULTILINE)  # data is JSON on one line, so no text can look like this
RETRY = b"retry: 1000\n\n"  # milliseconds after which a browser that lost the stream comes back
QUEUED_S = 1.0  # between two looks at the place in the queue
KEEP_ALIVE = b": keep-alive\n\n"
STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would collect the stream
}


async def answer(mailbox: Mailbox, trace: Trace, place: Place | None = None) -> web.Response:
    """The whole answer, which is one frame. Its headers say where the request stood when it came."""
    headers = place.headers() if place else {}
    frame = await mailbox.receive()
    assert frame is not None  # without a limit, it comes
    trace.took(frame)
    return _plain(frame, headers)


class Stream:
    """One SSE response. `keep_alive_s` is the silence a comment ends, `stall_s` the time a write may take.

    `ids`: the client reads event streams in full. Without it the frames are OpenAI's and nothing else (ADR 4).
    `place`: while the request waits in the queue, a comment says where, about each second.
    """

    def __init__(
        self,
        request: web.Request,
        mailbox: Mailbox,
        *,
        ids: bool,
        keep_alive_s: float,
        stall_s: float,
        place: Place | None = None,
    ) -> None:
        self._request = request
        self._mailbox = mailbox
        self._ids = ids
        self._keep_alive_s = keep_alive_s
        self._stall_s = stall_s
        self._place = place
        self._socket: asyncio.Transport | None = None  # where whole chunks may be poured, once the headers are written
        self._trace = request[TRACE]

    async def relay(self) -> web.StreamResponse:
        """Until the last frame. An error before anything was sent is an answer of its own."""
        place = self._place.headers() if self._place else {}
        frame = await self._receive()
        if frame is not None and _is_body(frame):
            return _plain(frame, place)
        place = (self._place.headers() if self._place else {}) or place
        response = web.StreamResponse(headers=STREAM_HEADERS | _names(self._mailbox.parent) | place)
        await response.prepare(self._request)
        try:
            if self._ids:
                await response.write(RETRY)
            await self._write(response, frame)
            if response.headers.get(hdrs.TRANSFER_ENCODING) == "chunked":  # HTTP/1.0 knows none
                self._socket = self._request.transport
            while frame is None or not frame.last:
                frame = await self._receive()
                await self._write(response, frame)
        except (ConnectionError, TimeoutError) as error:
            log.info("a client has gone or does not read: %r", error)
            self._trace.error = "client_stalled" if isinstance(error, TimeoutError) else "client_closed"
            _abort(self._request)
            return response
        except Exception:
            log.exception("a stream broke")
            self._trace.error = "stream_error"
            await response.write(_event(orjson.dumps(SluiceError("internal error").body())))
        await response.write_eof()
        return response

    async def _receive(self) -> Frame | None:
        """The next frame; None when a comment is due."""
        frame = await self._next()
        if frame is not None:
            self._trace.took(frame)
        return frame

    async def _next(self) -> Frame | None:
        silent_s, place = 0.0, self._place
        while place is not None and place.waiting:
            step_s = min(QUEUED_S, self._keep_alive_s - silent_s)
            if frame := await self._mailbox.receive(step_s):
                place.leave()
                return frame
            silent_s += step_s
            if silent_s >= self._keep_alive_s or place.position():
                return None
        return await self._mailbox.receive(self._keep_alive_s, self._pour if self._socket else None)

    def _pour(self, frame: Frame) -> bool:
        """Write it, as `_write` would, to a client that has taken everything before; not the last, behind which more is
        to be done. To wake a task for each token of each client would cost as much again as to send it."""
        socket = self._socket
        if frame.last or socket is None or socket.is_closing() or socket.get_write_buffer_size():
            return False
        if data := self._shown(frame):
            socket.write(b"%x\r\n%b\r\n" % (len(data), data))
        self._trace.poured(frame, len(data))
        return True

    def _shown(self, frame: Frame) -> bytes:
        return (frame.data if self._ids else _without_ids(frame.data)).encode()

    async def _write(self, response: web.StreamResponse, frame: Frame | None) -> None:
        if frame is None:
            data = (self._place and self._place.comment()) or KEEP_ALIVE
        elif _is_body(frame):  # too late for a status of its own
            data = _event(_body(frame).encode())
        else:
            data = self._shown(frame)
        if data:
            began_ns = now_ns()
            async with asyncio.timeout(self._stall_s):
                await response.write(data)
            self._trace.wrote(len(data), began_ns)


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _without_ids(data: str) -> str:
    """Nearly always it is one event, for which there is a way shorter than the expression's."""
    if data.startswith("id: ") and "\nid: " not in data:
        return data.partition("\n")[2]
    return _ID_LINE.sub("", data)


def _is_body(frame: Frame) -> bool:
    """An error, or the answer to a request that did not ask for a stream: whole JSON, no events."""
    return frame.status != 200 or frame.data.startswith("{")


def _body(frame: Frame) -> str:
    return frame.data or orjson.dumps(SluiceError("the request was cancelled", code="cancelled").body()).decode()


def _plain(frame: Frame, place: dict[str, str]) -> web.Response:
    headers = _names(frame.parent) | advice(frame.status) | place
    return web.Response(text=_body(frame), status=frame.status, headers=headers, content_type="application/json")


def _names(parent: ParentId) -> dict[str, str]:
    return {"X-Request-Id": parent}


def _abort(request: web.Request) -> None:
    """Let go of the connection without waiting for what it still holds."""
    if request.transport is not None:
        request.transport.abort()
