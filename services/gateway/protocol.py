"""Below the routes: connections within a bound, and refusals of what is no HTTP in OpenAI's words.

aiohttp lets an application put its own class beneath, though not by a setting: a `Server` makes a protocol for each
connection, and a `Runner` makes the server.
"""

import asyncio
import logging
import secrets
from ssl import SSLContext
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from services.gateway.config import GatewayConfig
from services.gateway.middleware import refuse
from shared import ops
from shared.errors import ClientError, SluiceError

log = logging.getLogger(__name__)


async def serve(
    app: web.Application, config: GatewayConfig, tls: SSLContext | None = None
) -> tuple[web.AppRunner, int]:
    """Listen; the runner to clean up and the port in use. Raises OSError."""
    runner = Runner(app, config.max_connections, config.body_timeout_s, **ops.RUNNING)
    return runner, await ops.listen(runner, config.host, config.port, reuse_port=config.reuse_port, tls=tls)


class Runner(web.AppRunner):
    """`most_connections`: one more is closed at once. `silence_s`: for a connection that sends no request at all."""

    __slots__ = ("_bounds",)

    def __init__(self, app: web.Application, most_connections: int, silence_s: float, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self._bounds = (most_connections, silence_s)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made, *self._bounds)


class _Server(web.Server):
    def __init__(self, like: web.Server, most_connections: int, silence_s: float) -> None:
        factory, cancels = like.request_factory, like.handler_cancellation
        super().__init__(like.request_handler, request_factory=factory, handler_cancellation=cancels, **like._kwargs)
        self._most = most_connections
        self._silence_s = silence_s

    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self._most:
            transport.abort()
        else:
            self._loop.call_later(self._silence_s, self._spoken, handler, transport)

    def _spoken(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        if not handler._request_count and not transport.is_closing():
            transport.abort()


class _Protocol(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What no route ever saw, or what failed around them. `message` quotes the client, who may have sent a secret:
        it is neither answered nor logged."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        if status >= 500:
            log.error("a request failed outside of its handler", exc_info=exc)
            response = refuse(SluiceError("internal error"))
        else:
            kind = type(exc).__name__
            log.debug("a request that cannot be read: %s", kind)
            response = refuse(ClientError(f"this is not HTTP that can be read ({kind})", code="invalid_http"))
        response.set_status(status)
        response.headers["X-Request-Id"] = f"req-{secrets.token_hex(12)}"
        response.force_close()
        return response
