"""`/openapi.json`, made from the models that validate, so that it cannot say anything else."""

from typing import Any

from aiohttp import web
from pydantic.json_schema import models_json_schema

from services.gateway.openai import ChatBody, CompletionBody

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


async def openapi(_: web.Request) -> web.Response:
    return web.json_response(document())


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    bodies = [(ChatBody, "validation"), (CompletionBody, "validation")]
    _, schemas = models_json_schema(bodies, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]  # a list of pairs is one
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sluice", "version": "1", "description": "In every object null is as good as absent."},
        "components": {
            "schemas": schemas.get("$defs", {}) | {"Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
        "paths": {
            "/v1/chat/completions": {"post": _generates("Answer a chat", "ChatBody")},
            "/v1/completions": {"post": _generates("Continue a text", "CompletionBody")},
            "/v1/models": {"get": _reads("List the served model")},
            "/v1/models/{id}": {"get": _reads("The served model", _parameter("id", "path"))},
            "/v1/streams/{id}": {
                "get": _reads(
                    "Go on reading a stream",
                    _parameter("id", "path"),
                    _parameter("Last-Event-ID", "header"),
                    _parameter("starting_after", "query"),
                    media="text/event-stream",
                )
            },
            "/v1/streams/{id}/cancel": {"post": _reads("End a request", _parameter("id", "path"), status="204")},
            "/health": {"get": _reads("Is the process alive?")},
            "/ready": {"get": _reads("Would a request be served?")},
            "/metrics": {"get": _reads("Prometheus metrics", media="text/plain")},
            "/debug/timeline": {"get": _reads("A page that draws what all services did", media="text/html")},
            "/debug/timeline.json": {
                "get": _reads(
                    "The last seconds of all services as Chrome trace events, for Perfetto",
                    _parameter("seconds", "query"),
                    _parameter("request", "query"),
                )
            },
        },
    }


def _generates(summary: str, schema: str) -> dict[str, Any]:
    body = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    done = {"description": summary, "content": {"application/json": {}, "text/event-stream": {}}}
    request = {"required": True, "content": body}
    return {"summary": summary, "requestBody": request, "responses": _responses("200", done)}


def _reads(summary: str, *parameters: Any, media: str = "application/json", status: str = "200") -> dict[str, Any]:
    done: dict[str, Any] = {"description": summary}
    if status == "200":
        done["content"] = {media: {}}
    return {"summary": summary, "parameters": list(parameters), "responses": _responses(status, done)}


def _responses(status: str, done: dict[str, Any]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: done, "default": {"description": "An error", "content": error}}


def _parameter(name: str, where: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": {"type": "string"}}
