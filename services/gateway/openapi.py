"""`/openapi.json`, made from the models that validate, so that it cannot say anything else."""

import json
from functools import cache
from typing import Any

from aiohttp import web
from pydantic.json_schema import models_json_schema

from services.gateway.answers import ANSWERS
from services.gateway.cors import RATES
from services.gateway.deps import DEPS
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.operations import ANY_JSON, JSON, OPERATIONS, Operation, Parameter
from services.gateway.tokenizing import DetokenizeBody, TokenizeBody

BODIES = (ChatBody, CompletionBody, TokenizeBody, DetokenizeBody)
SCHEMAS = "#/components/schemas/{model}"
ABOUT = "OpenAI's API, served by Sluice. In every object of a request null is as good as absent."
ERRORS = {
    400: "The request is wrong; `param` names what",
    401: "The API key, or the client certificate, is missing or wrong",
    404: "There is no such model or stream",
    408: "The body did not arrive in time",
    410: "The stream's time has passed",
    413: "The body is too large",
    422: "The Idempotency-Key was used with another body",
    429: "Over a limit, of the server or of this API key",
    499: "The request was cancelled",
    500: "A mistake of the server's",
    503: "Not served at this moment",
    504: "The request's time was over first",
}
HEADERS = {
    "X-Request-Id": ("what to call the request by; of an answer that generates, the id of its stream", "string"),
    "Retry-After": ("seconds after which to come again", "integer"),
    "X-Queue-Position": ("where the request stood in the queue", "integer"),
    "X-Queue-Estimate-Seconds": ("how long that was expected to take", "number"),
    **{name: ("of this API key, if limits are set; times like 1.5s, 6m0s", "string") for name in RATES},
}


async def openapi(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    data = written(deps.keyring.required, bool(deps.config.tls_client_ca))
    return web.Response(body=data, content_type=JSON)


@cache
def written(keys: bool, certificates: bool) -> bytes:
    return json.dumps(document(keys=keys, certificates=certificates)).encode()  # some bounds pass 64 bits


def document(*, keys: bool = True, certificates: bool = False) -> dict[str, Any]:
    """OpenAPI 3.1. `keys`, `certificates`: whether they are asked for."""
    schemes: dict[str, Any] = {"key": {"type": "http", "scheme": "bearer"}} if keys else {}
    schemes |= {"certificate": {"type": "mutualTLS"}} if certificates else {}
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sluice", "version": "1", "description": ABOUT},
        "components": {"schemas": _schemas(), "headers": _headers(), "securitySchemes": schemes},
        "security": [{name: [] for name in schemes}] if schemes else [],
        "paths": paths,
    }


def _schemas() -> dict[str, Any]:
    requests = [(body, "validation") for body in BODIES]
    answers = [(answer, "serialization") for answer in ANSWERS]
    _, schemas = models_json_schema([*requests, *answers], ref_template=SCHEMAS)  # type: ignore[list-item]  # as asked for
    found: dict[str, Any] = schemas.get("$defs", {})
    return found


def _headers() -> dict[str, Any]:
    return {name: {"description": about, "schema": {"type": kind}} for name, (about, kind) in HEADERS.items()}


def _operation(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": {**_done(operation), **{str(status): _error(operation, status) for status in operation.errors}},
    }
    if operation.path == "/ready":
        told["responses"]["503"] = told["responses"]["200"] | {"description": "Not now"}
    if operation.parameters:
        told["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.about:
        told["description"] = operation.about
    if operation.body:
        media = {"schema": _ref(operation.body)} | ({"example": operation.example} if operation.example else {})
        told["requestBody"] = {"required": True, "content": {JSON: media}}
    if operation.open:
        told["security"] = []
    return told


def _done(operation: Operation) -> dict[str, Any]:
    if not operation.answers:
        return {"204": {"description": operation.summary}}
    content = {media: {"schema": _ref(schema)} if schema else {} for media, schema in operation.answers.items()}
    return {"200": {"description": operation.summary, "headers": _told(operation.headers), "content": content}}


def _error(operation: Operation, status: int) -> dict[str, Any]:
    limited = [name for name in operation.headers if name == "X-RateLimit"]
    names = ["X-Request-Id", *(["Retry-After"] if status in (429, 503) else []), *limited]
    content = {JSON: {"schema": _ref("Error")}}
    return {"description": ERRORS[status], "headers": _told(names), "content": content}


def _told(names: Any) -> dict[str, Any]:
    each = [one for name in names for one in (RATES if name == "X-RateLimit" else (name,))]
    return {name: {"$ref": f"#/components/headers/{name}"} for name in each}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    told = {"name": parameter.name, "in": parameter.where, "required": parameter.where == "path"}
    return told | {"description": parameter.about, "schema": dict(parameter.schema)}


def _ref(schema: str) -> dict[str, Any]:
    return {"type": "object"} if schema == ANY_JSON else {"$ref": SCHEMAS.format(model=schema)}
