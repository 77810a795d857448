"""`/debug/timeline.json`, the data, which needs the key; `/debug/timeline` and its parts, which hold nothing but
themselves."""

from pathlib import Path

from aiohttp import web

from services.gateway.deps import DEPS
from shared.errors import ClientError, NotFound
from shared.ops import span_seconds
from shared.telemetry.spans import request_digest

FOLDER = Path(__file__).with_name("page")
PAGE, PART, DATA = "/debug/timeline", "/debug/timeline/{name}", "/debug/timeline.json"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address may hold a request's id, which is a secret
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
LONGEST_ID = 200


def add_to(app: web.Application) -> None:
    parts = {path.name: path for path in FOLDER.iterdir() if path.suffix in TYPES}
    page = _Files({name: path.read_bytes() for name, path in parts.items()})
    app.router.add_get(PAGE, page.index)
    app.router.add_get(PART, page.part)
    app.router.add_get(DATA, timeline)


async def timeline(request: web.Request) -> web.Response:
    """`?seconds=`, and `?request=`, an X-Request-Id: whoever asks knows it, the answer holds its digest."""
    seconds = span_seconds(request.query)
    wanted = request.query.get("request", "")
    if len(wanted) > LONGEST_ID:
        raise ClientError(f"request must have at most {LONGEST_ID} characters", param="request", code="invalid_value")
    body = await request.app[DEPS].looks.trace(seconds, request_digest(wanted) if wanted else "")
    response = web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})
    response.enable_compression()
    return response


class _Files:
    """The page, read once."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self._bodies = bodies

    async def index(self, _: web.Request) -> web.Response:
        return self._answer("index.html")

    async def part(self, request: web.Request) -> web.Response:
        """Raises NotFound."""
        name = request.match_info["name"]
        if name not in self._bodies:
            raise NotFound(f"Unknown request URL: {request.method} {request.path[:200]}", code="unknown_url")
        return self._answer(name)

    def _answer(self, name: str) -> web.Response:
        kind = TYPES[Path(name).suffix]
        return web.Response(body=self._bodies[name], content_type=kind, charset="utf-8", headers=HEADERS)
