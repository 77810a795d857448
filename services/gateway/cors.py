"""Web pages of other origins: none may call, but those the operator names (`--cors-origins`; `*` for any).

No cookie or other credential of the browser's own is ever asked for: a page that calls brings its key itself.
"""

import re
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from shared.errors import ConfigError
from shared.ops import Handler

ANY = "*"
RATES = tuple(f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens") for what in ("limit", "remaining", "reset"))
EXPOSED = ", ".join(
    ("X-Request-Id", "Retry-After", "X-Queue-Position", "X-Queue-Estimate-Seconds", "traceparent", *RATES)
)
ALLOWED = "Authorization, Content-Type, Accept, Idempotency-Key, Last-Event-ID, X-On-Disconnect, traceparent"
PREFLIGHT_S = 600  # for which a browser may keep the answer
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_NAMES = re.compile(r"[A-Za-z0-9\-, ]{1,1024}")  # of headers

Prepare = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def origins(text: str) -> tuple[str, ...]:
    """Raises ConfigError for what no browser would send as `Origin`."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in found:
        if origin != ANY and not _ORIGIN.fullmatch(origin):
            raise ConfigError(f"cors_origins must hold origins like https://example.org, or *, not {origin!r}")
    return found


def preflight(known: Sequence[str]) -> Middleware:
    """Answers the question that browsers ask before the call: it bears no key, so it must not reach the guard."""

    @web.middleware
    async def ask(request: web.Request, handler: Handler) -> web.StreamResponse:
        asks = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        if not asks or _allowed(request, known) is None:
            return await handler(request)
        wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST",
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: wanted if _NAMES.fullmatch(wanted) else ALLOWED,
            hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_S),
        }
        return web.Response(status=204, headers=headers)

    return ask


def open_to(known: Sequence[str]) -> Prepare:
    """Lets pages of these origins read every answer, errors and streams too."""

    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        if known and known[0] != ANY:
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if (origin := _allowed(request, known)) is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED

    return prepare


def _allowed(request: web.Request, known: Sequence[str]) -> str | None:
    """What the answer says to the origin that asks; None: nothing."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or not known:
        return None
    return ANY if ANY in known else (origin if origin in known else None)
