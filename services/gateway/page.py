"""The pages that the gateway shows to browsers: `pages/`, read once, sent as it is. There is no build step.

A page needs no key, but the data it asks for does. Nothing on it comes from another host and nothing in it is inline,
so its policy can refuse both: text that a model wrote cannot become a script.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from aiohttp import ETag, hdrs, web

from shared.errors import NotFound
from shared.ops import Handler

FOLDER = Path(__file__).with_name("pages")
ASSET = "/assets/{name}"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # an address may hold a stream's id, which is a secret
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # ask each time: a 304 is small, and a page never meets modules of another release
}


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    content_type: str
    etag: str


@cache
def assets() -> Mapping[str, Asset]:
    """All of them by name. Files of another kind are not for browsers."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in TYPES)
    return {path.name: _read(path) for path in files}


def page(name: str) -> Handler:
    """The handler that shows one of them under an address of its own."""

    async def show(request: web.Request) -> web.Response:
        return _answer(request, assets()[name])

    return show


async def asset(request: web.Request) -> web.Response:
    """Raises NotFound."""
    name = request.match_info["name"]
    if name not in assets():
        raise NotFound(f"Unknown request URL: {request.method} {request.path[:200]}", code="unknown_url")
    return _answer(request, assets()[name])


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, TYPES[path.suffix], sha256(body).hexdigest()[:32])


def _answer(request: web.Request, asset: Asset) -> web.Response:
    known = any(tag.value in (asset.etag, "*") for tag in request.if_none_match or ())
    response = web.Response(status=304, headers=HEADERS) if known else _whole(asset)
    response.etag = ETag(asset.etag)
    return response


def _whole(asset: Asset) -> web.Response:
    return web.Response(body=asset.body, headers=HEADERS | {hdrs.CONTENT_TYPE: f"{asset.content_type}; charset=utf-8"})
