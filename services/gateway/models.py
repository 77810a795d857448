"""`/v1/models`: there is one, under its served name."""

import orjson
from aiohttp import web

from services.gateway.deps import DEPS, Deps


async def list_models(request: web.Request) -> web.Response:
    return _json({"object": "list", "data": [_model(request.app[DEPS])]})


async def get_model(request: web.Request) -> web.Response:
    """Raises NotFound for another name."""
    deps = request.app[DEPS]
    deps.model.check_name(request.match_info["id"])
    return _json(_model(deps))


def _model(deps: Deps) -> dict[str, object]:
    fields: dict[str, object] = {"id": deps.config.name, "object": "model", "created": deps.started_s}
    return fields | {"owned_by": "sluice", "max_model_len": deps.cluster.max_model_len()}


def _json(body: object) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")
