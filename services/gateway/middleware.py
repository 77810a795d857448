"""What surrounds every handler: a line in the log, and errors as OpenAI's bodies."""

import logging
import re
import time

import orjson
from aiohttp import hdrs, web

from services.gateway.deps import DEPS
from services.gateway.trace import CLIENT_CLOSED
from shared.errors import ClientError, NotFound, SluiceError, TooLarge
from shared.ops import Handler

log = logging.getLogger(__name__)

PROBES = frozenset({"/health", "/ready", "/metrics"})  # too many to log
_ID = re.compile(r"[0-9a-f]{32}")  # of a stream, in an address that does not exist
ERROR = web.ResponseKey("error", str)  # what a refusal is called, for the trace


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
        where = route or repr(_ID.sub("ID", request.path[:200]))
        log.log(level, "%s %s %d %.1f ms", request.method, where, status, took_ms)


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
    response = web.Response(body=body, status=error.status, headers=error.headers(), content_type="application/json")
    response[ERROR] = error.code or error.kind  # for the trace
    return response


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
