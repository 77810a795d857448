"""The small HTTP server every service has beside its work: `/health` (alive), `/ready` (of use), `/metrics`."""

import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Statistics = Mapping[str, Any]  # numbers, and mappings of numbers


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
    """What a service tells of itself: `prefix` starts the names of its metrics."""

    prefix: str
    readiness: Callable[[], Readiness]
    statistics: Callable[[], Statistics]

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _: web.Request) -> web.Response:
        return self.readiness().response()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=exposition(self.prefix, self.statistics()), content_type="text/plain")


def exposition(prefix: str, statistics: Statistics) -> str:
    """Nested statistics as Prometheus gauges: {"queue": {"length": 3}} -> `prefix_queue_length 3`."""
    lines: list[str] = []
    for name, value in statistics.items():
        if isinstance(value, Mapping):
            lines.append(exposition(f"{prefix}_{name}", value))
        else:
            lines.append(f"{prefix}_{name} {float(value):.10g}\n")
    return "".join(lines)


def address(host: str, port: int, advertised: str = "") -> str:
    """The URL of a server on `host`; others reach one that listens everywhere by this machine's name."""
    host = advertised or (socket.gethostname() if host in ("0.0.0.0", "::", "") else host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(app: web.Application, host: str, port: int, *, reuse_port: bool = False) -> tuple[web.AppRunner, int]:
    """Listen; the runner to clean up and the port in use (`port` 0 takes any free one). Raises OSError."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port, reuse_port=reuse_port or None)
    await site.start()
    server = site._server
    sockets: Any = getattr(server, "sockets", ())
    return runner, int(sockets[0].getsockname()[1])
