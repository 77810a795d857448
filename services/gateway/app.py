"""The routes, and what surrounds them."""

from aiohttp import web

from services.gateway import docs
from services.gateway.cors import open_to, origins, preflight
from services.gateway.deps import DEPS, Deps
from services.gateway.guard import certificate_guard, key_guard
from services.gateway.handlers import chat_completions, completions
from services.gateway.metering import meter, tell
from services.gateway.middleware import access_log, errors
from services.gateway.models import get_model, list_models
from services.gateway.openapi import openapi
from services.gateway.page import ASSET, asset, page
from services.gateway.streams import cancel, resume
from services.gateway.timeline import routes as timeline
from services.gateway.tokenizing import detokenize, tokenize
from services.gateway.traced import tell as tell_trace
from services.gateway.traced import traced


def build_app(deps: Deps) -> web.Application:
    pages = origins(deps.config.cors_origins)
    doors = [certificate_guard(bool(deps.config.tls_client_ca)), preflight(pages), key_guard(deps.keyring)]
    middlewares = [traced, access_log, errors, *doors, meter]
    app = web.Application(middlewares=middlewares, client_max_size=deps.config.max_body_bytes)
    app.on_response_prepare.extend((open_to(pages), tell, tell_trace))
    app[DEPS] = deps
    app.router.add_post("/v1/chat/completions", chat_completions)
    app.router.add_post("/v1/completions", completions)
    app.router.add_get("/v1/models", list_models)
    app.router.add_get("/v1/models/{id:.+}", get_model)
    app.router.add_get("/v1/streams/{id}", resume, allow_head=False)
    app.router.add_post("/v1/streams/{id}/cancel", cancel)
    app.router.add_post("/tokenize", tokenize)
    app.router.add_post("/detokenize", detokenize)
    app.router.add_get("/openapi.json", openapi)
    app.router.add_get("/", page("index.html"))
    app.router.add_get(ASSET, asset)
    docs.add_to(app)
    deps.ops().add_to(app, inside=False)
    timeline.add_to(app)
    return app
