"""`/docs`: a page that shows `/openapi.json`. It holds nothing but itself, so it needs no key; the document may."""

from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).with_name("reference")
PAGE = "/docs"
FILES = {
    PAGE: ("index.html", "text/html"),
    "/docs/reference.css": ("reference.css", "text/css"),
    "/docs/reference.js": ("reference.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_to(app: web.Application) -> None:
    for path, (name, kind) in FILES.items():
        app.router.add_get(path, _Page((FOLDER / name).read_bytes(), kind).answer)


class _Page:
    """A file, read once."""

    def __init__(self, data: bytes, kind: str) -> None:
        self._data = data
        self._kind = kind

    async def answer(self, _: web.Request) -> web.Response:
        return web.Response(body=self._data, content_type=self._kind, charset="utf-8", headers=HEADERS)
