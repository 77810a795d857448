"""Where the limits of a key meet a request: counted at the door, told in headers, settled when the answer's length is
known. That is read from the cursor of the last frame, which counts tokens: no frame is opened for it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web

from services.gateway.deps import DEPS
from services.gateway.guard import CALLER
from services.gateway.leaving import Leaving
from services.gateway.rates import Ticket
from services.gateway.replies import Mailbox
from shared.messages import GenerateRequest
from shared.ops import Handler

METERED = frozenset({"/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"})
TICKET = web.RequestKey("ticket", Ticket)


@web.middleware
async def meter(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Raises Overloaded over a limit of the caller's key."""
    resource = request.match_info.route.resource
    if resource is None or resource.canonical not in METERED:
        return await handler(request)
    deps, key = request.app[DEPS], request[CALLER]
    ticket = deps.rates.ticket(key.name if key else "", key.quota if key else deps.config.quota)
    request[TICKET] = ticket
    ticket.enter()
    try:
        return await handler(request)
    finally:
        ticket.close()


async def tell(request: web.Request, response: web.StreamResponse) -> None:
    """What the key has left, on every answer of a route that counts."""
    if (ticket := request.get(TICKET)) is not None:
        response.headers.update(ticket.headers())


def reserve(request: web.Request, requests: Sequence[GenerateRequest]) -> None:
    """What the choices may come to. Raises Overloaded."""
    output = sum(choice.sampling.max_tokens for choice in requests)
    request[TICKET].reserve(requests[0].render.prompt_tokens + output)


@contextmanager
def settled(
    request: web.Request, requests: Sequence[GenerateRequest], mailbox: Mailbox, policy: Leaving
) -> Iterator[None]:
    """While it runs. What runs on without its client, or ended with no word of its length, costs what was reserved."""
    try:
        yield
    finally:
        ticket, cursor = request[TICKET], mailbox.cursor
        told = [int(offset or 0) for offset in cursor.split(",")] if cursor else []
        if policy.cancels if not mailbox.ended else told:
            ends = len(told) if mailbox.ended else 0  # the end of a choice counts one
            ticket.spend(requests[0].render.prompt_tokens + max(0, sum(told) - ends))
        else:
            ticket.keep()
