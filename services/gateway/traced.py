"""What surrounds the handlers of the API for tracing: a span from a request to its answer's last byte."""

from aiohttp import web

from services.gateway.deps import DEPS
from services.gateway.middleware import ERROR
from services.gateway.trace import CLIENT_CLOSED, TRACE
from shared import logs
from shared.ops import Handler

HEADER = "traceparent"
API = ("/v1/", "/tokenize", "/detokenize")  # and what is no address at all; probes and pages tell nothing
LEFT = "client_closed"


@web.middleware
async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost: it ends when the last byte was written."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else ""
    if route and not route.startswith(API):
        return await handler(request)
    tracing, status = request.app[DEPS].tracing, CLIENT_CLOSED
    trace = request[TRACE] = tracing.begin(request.method, route, request.headers.get(HEADER))
    token = logs.trace.set(trace.context)
    try:
        response = await handler(request)
        trace.error = trace.error or response.get(ERROR, "")
        try:
            await response.prepare(request)
            await response.write_eof()
            status = response.status
        except ConnectionError:
            pass  # the server finds that out once more
        return response
    finally:
        if status == CLIENT_CLOSED:
            trace.error = trace.error or LEFT
        logs.trace.reset(token)
        tracing.end(trace, status)


async def tell(request: web.Request, response: web.StreamResponse) -> None:
    """Under which trace this answer was made."""
    if (trace := request.get(TRACE)) is not None:
        response.headers[HEADER] = str(trace.context)
