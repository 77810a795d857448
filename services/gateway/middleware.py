"""What surrounds every handler: a line in the log, errors as OpenAI's bodies, and the key."""

import hmac
import logging
import time
from collections.abc import Sequence
from hashlib import sha256

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from services.gateway.deps import DEPS
from services.gateway.page import ASSET
from services.gateway.timeline import routes as timeline
from shared.errors import ClientError, NotFound, SluiceError, TooLarge, Unauthorized
from shared.ops import Handler

log = logging.getLogger(__name__)

# Routes without a key: probes, streams, whose unguessable id is the key, and the pages, which hold no data. All others
# need it.
STREAMS = frozenset({"/v1/streams/{id}", "/v1/streams/{id}/cancel"})
OPEN = frozenset({"/health", "/ready", "/", ASSET, timeline.PAGE, timeline.PART}) | STREAMS
PROBES = frozenset({"/health", "/ready", "/metrics"})  # too many to log
CLIENT_CLOSED = 499  # as nginx logs it


@web.middleware
async def access_log(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One line for each request: never its content, and of a stream's path not the id, which is a secret."""
    started, status = time.monotonic(), CLIENT_CLOSED
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        route = _route(request)
        level = logging.DEBUG if route in PROBES else logging.INFO
        took_ms = (time.monotonic() - started) * 1000
        log.log(level, "%s %s %d %.1f ms", request.method, route or repr(request.path[:200]), status, took_ms)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong, the client gets OpenAI's error body, and only its own request is harmed."""
    try:
        return await handler(request)
    except SluiceError as error:
        response = refuse(error)
    except web.HTTPException as error:
        response = _refuse_http(request, error)
    except ConnectionError:
        return web.Response(status=CLIENT_CLOSED)  # to nobody
    except Exception:
        log.exception("%s %s failed", request.method, _route(request))
        response = refuse(SluiceError("internal error"))
    response.headers["X-Request-Id"] = f"req-{request.app[DEPS].nonce()}"  # of no stream: for people who compare notes
    return response


def refuse(error: SluiceError) -> web.Response:
    body = orjson.dumps(error.body())
    return web.Response(body=body, status=error.status, headers=error.headers(), content_type="application/json")


def key_guard(keys: Sequence[str]) -> Middleware:
    """Refuses who shows none of `keys`; without keys everybody may come in."""
    known = [_digest(key) for key in keys]

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if known and _route(request) not in OPEN and not _shows_key(request, known):
            raise Unauthorized("Incorrect or missing API key: send `Authorization: Bearer KEY`.")
        return await handler(request)

    return guard


def _shows_key(request: web.Request, known: Sequence[bytes]) -> bool:
    scheme, _, key = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    shown = _digest(key.strip())
    matches = [hmac.compare_digest(shown, one) for one in known]  # all of them: the time tells nothing
    return scheme.lower() == "bearer" and any(matches)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def _refuse_http(request: web.Request, error: web.HTTPException) -> web.Response:
    where = f"{request.method} {request.path[:200]}"
    match error:
        case web.HTTPRequestEntityTooLarge():
            return refuse(TooLarge("the request body is too large", code="request_too_large"))
        case web.HTTPNotFound():
            return refuse(NotFound(f"Unknown request URL: {where}", code="unknown_url"))
        case web.HTTPMethodNotAllowed():
            response = refuse(ClientError(f"Method not allowed: {where}", code="method_not_allowed"))
            response.set_status(error.status)
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
            return response
        case _:
            response = refuse(ClientError(error.reason))
            response.set_status(error.status)
            return response
