"""The door for gateways: `POST /frames`, a stream of frames without end, and `POST /attach` (shared/frames.py)."""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson
from aiohttp import web

from services.detokenizer.links import Link, Links
from shared.errors import ClientError, SluiceError, Unauthorized
from shared.frames import Attach, decode_attach, encode_frames
from shared.types import ParentId

log = logging.getLogger("sluice.detokenizer")

KEEP_ALIVE_S = 10.0
KEEP_ALIVE = b": alive\n\n"
MOST_BODY_BYTES = 16 * 1024 * 1024
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class FrameServer:
    """`token` is what gateways must show ("" asks for none); `asked` hears what a gateway has attached to; a
    gateway that takes nothing for `stall_s` is cut."""

    links: Links
    token: str
    asked: Callable[[Iterable[ParentId]], None]
    stall_s: float = 10.0

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/frames", self._frames)
        app.router.add_post("/attach", self._attach)
        app.on_shutdown.append(self._shut)

    async def _shut(self, _: web.Application) -> None:
        self.links.close_all()

    async def _attach(self, request: web.Request) -> web.Response:
        try:
            attach = await self._read(request)
            self.links.attach(attach)
        except SluiceError as error:
            return _refusal(error)
        self.asked(attach.cursors)
        return web.Response(status=204)

    async def _frames(self, request: web.Request) -> web.StreamResponse:
        try:
            attach = await self._read(request)
            link = self.links.open(attach)
        except SluiceError as error:
            return _refusal(error)
        log.info("gateway %s is connected", link.gateway)
        response = web.StreamResponse(headers=HEADERS)
        try:
            self.asked(attach.cursors)
            await response.prepare(request)
            await self._write(link, response)
        except TimeoutError:
            log.warning("gateway %s took nothing for %g s and is cut", link.gateway, self.stall_s)
            if request.transport:
                request.transport.abort()
        except ConnectionError:
            log.info("gateway %s is gone", link.gateway)
        finally:
            self.links.close(link)
        return response

    async def _write(self, link: Link, response: web.StreamResponse) -> None:
        """Until the link is closed. Raises TimeoutError if the gateway takes nothing."""
        while not link.closed:
            wrote = False
            for frames in self.links.take_nowait(link):
                wrote = True
                async with asyncio.timeout(self.stall_s):
                    await response.write(encode_frames(frames, time.time() * 1000))
            if wrote:
                continue  # what has come meanwhile
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    await link.wait()
            except TimeoutError:
                async with asyncio.timeout(self.stall_s):
                    await response.write(KEEP_ALIVE)

    async def _read(self, request: web.Request) -> Attach:
        """Raises Unauthorized or ClientError."""
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.token and not hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), self.token.encode()):
            raise Unauthorized("the internal token is missing or wrong")
        try:
            return decode_attach(await request.read())
        except ValueError as error:
            raise ClientError(f"not an attach message: {error}") from None


def _refusal(error: SluiceError) -> web.Response:
    return web.Response(body=orjson.dumps(error.body()), status=error.status, content_type="application/json")
