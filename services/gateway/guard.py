"""Who comes in: default deny. Every route needs what the operator asks for, a key, a certificate or both, but a few."""

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from services.gateway import docs
from services.gateway.keyring import Key, Keyring
from services.gateway.page import ASSET
from services.gateway.timeline.routes import PAGE, PART
from shared.errors import Unauthorized
from shared.ops import Handler

PROBES = frozenset({"/health", "/ready"})
# Without a key: probes, streams, whose unguessable id is the key, and pages, which hold nothing but themselves.
OPEN = PROBES | {"/v1/streams/{id}", "/v1/streams/{id}/cancel", "/", ASSET, PAGE, PART} | frozenset(docs.FILES)
CALLER: web.RequestKey[Key | None] = web.RequestKey("caller", Key | None)  # type: ignore[arg-type]  # a union is no type


def key_guard(keyring: Keyring) -> Middleware:
    """Refuses who shows no key that is known; without keys everybody may come in."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        key = request[CALLER] = keyring.find(request.headers.get(hdrs.AUTHORIZATION, ""))
        if key is None and keyring.required and _route(request) not in OPEN:
            raise Unauthorized("Incorrect or missing API key: send `Authorization: Bearer KEY`.")
        return await handler(request)

    return guard


def certificate_guard(needed: bool) -> Middleware:
    """Refuses who came without a certificate. The handshake has refused a wrong one; it lets none at all pass, so that
    probes need none and people are told what is missing."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if needed and _route(request) not in PROBES and not request.get_extra_info("peercert"):
            raise Unauthorized("A client certificate is needed here.", code="client_certificate_required")
        return await handler(request)

    return guard


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""
