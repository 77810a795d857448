"""The small HTTP server every service has beside its work: `/health` (alive), `/ready` (of use), `/metrics`, and
`/debug/spans` (what it did a moment ago)."""

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Protocol

import orjson
from aiohttp import hdrs, web

from shared.errors import ClientError, SluiceError, Unauthorized
from shared.telemetry import wire
from shared.telemetry.recorder import wall_offset_ns
from shared.telemetry.service import Telemetry
from shared.telemetry.spans import now_ns

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Statistics = Mapping[str, Any]  # numbers, and mappings of numbers
DEFAULT_SECONDS, MOST_SECONDS = 10, 300  # of a look at the spans
RUNNING: Mapping[str, Any] = {"handler_cancellation": True, "access_log": None, "shutdown_timeout": 1.0}
BACKLOG = 4096  # connections nobody has accepted yet; the kernel cuts it to its own bound (net.core.somaxconn)
MOST_BYTES, AT_ONCE = 16 << 20, 128  # of such a look; spans written without a pause


class HasStatistics(Protocol):
    def statistics(self) -> Statistics: ...


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    message: str = ""
    progress: float | None = None  # 0 to 1 while something loads

    def response(self) -> web.Response:
        body = {"ready": self.ready, "message": self.message, "progress": self.progress}
        return web.Response(body=orjson.dumps(body), status=200 if self.ready else 503, content_type="application/json")


@dataclass(frozen=True, slots=True)
class Ops:
    """What a service tells of itself. `token` is what must be shown for `/debug/spans`, as bearer; "" asks for none."""

    readiness: Callable[[], Readiness]
    telemetry: Telemetry
    token: str = ""

    def add_to(self, app: web.Application, *, inside: bool = True) -> None:
        """`inside`: only other services reach it."""
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        if inside:
            app.router.add_get("/debug/spans", self._spans)

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _: web.Request) -> web.Response:
        return self.readiness().response()

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self.telemetry.metrics.exposition(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def _spans(self, request: web.Request) -> web.Response:
        """The last `?seconds=`, for the gateway's timeline."""
        if not shows(request, self.token):
            return refusal(Unauthorized("the internal token is missing or wrong"))
        try:
            seconds = span_seconds(request.query)
        except ClientError as error:
            return refusal(error)
        return web.Response(body=await self.spans(seconds), content_type="application/json")

    async def spans(self, seconds: float) -> bytes:
        """What this process did in the last seconds, one JSON object: the newest of it, `cut` says how many spans had
        no room. A few at a time are written, so whatever else runs here waits a millisecond at most."""
        recorder, offset_ns = self.telemetry.recorder, wall_offset_ns()
        found = recorder.since(now_ns() - round(seconds * 1e9))
        parts: list[bytes] = []
        size, left = 0, len(found)
        while left and size < MOST_BYTES:
            parts.append(wire.listed(found[max(0, left - AT_ONCE) : left], offset_ns))
            size, left = size + len(parts[-1]), max(0, left - AT_ONCE)
            await asyncio.sleep(0)
        head = wire.line(lane=recorder.lane, instance=recorder.instance, cut=left).rstrip(b"}\n")
        return head + b',"spans":[' + b",".join(reversed(parts)) + b"]}"


def span_seconds(query: Mapping[str, str]) -> float:
    """How far back somebody wants to look. Raises ClientError."""
    text = query.get("seconds", str(DEFAULT_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MOST_SECONDS:
        message = f"seconds must be a number above 0 and up to {MOST_SECONDS}, not {text[:100]}"
        raise ClientError(message, param="seconds", code="invalid_value")
    return seconds


def shows(request: web.Request, token: str) -> bool:
    """Does the request bear this token? "" asks for none."""
    shown = request.headers.get(hdrs.AUTHORIZATION, "").removeprefix("Bearer ")
    return not token or hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), token.encode())


def refusal(error: SluiceError) -> web.Response:
    return web.Response(
        body=orjson.dumps(error.body()), status=error.status, headers=error.headers(), content_type="application/json"
    )


def address(host: str, port: int, advertised: str = "") -> str:
    """The URL of a server on `host`; others reach one that listens everywhere by this machine's name."""
    host = advertised or (socket.gethostname() if host in ("0.0.0.0", "::", "") else host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(app: web.Application, host: str, port: int, *, reuse_port: bool = False) -> tuple[web.AppRunner, int]:
    """Listen; the runner to clean up and the port in use (`port` 0 takes any free one). Raises OSError."""
    runner = web.AppRunner(app, **RUNNING)
    return runner, await listen(runner, host, port, reuse_port=reuse_port)


async def listen(
    runner: web.BaseRunner, host: str, port: int, *, reuse_port: bool = False, tls: SSLContext | None = None
) -> int:
    """The port in use. Raises OSError."""
    await runner.setup()
    site = web.TCPSite(runner, host, port, reuse_port=reuse_port or None, ssl_context=tls, backlog=BACKLOG)
    await site.start()
    server = site._server
    sockets: Any = getattr(server, "sockets", ())
    return int(sockets[0].getsockname()[1])
