"""The HTTP side that needs no generation: errors, keys, models, readiness."""

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from services.gateway.app import build_app
from services.gateway.page import ASSET
from services.gateway.timeline.routes import PART
from tests.unit.gateway.fakes import CONTEXT, MODEL, World, a_chat, a_world, error_of

UNKNOWN_STREAM = "/v1/streams/chatcmpl-" + "0" * 32


async def test_bad_requests_are_answered_in_openais_words(checkpoint: Path) -> None:
    """Whatever is wrong, the status fits, the body is OpenAI's, and nothing reaches the bus."""
    async with a_world(checkpoint) as world:
        response = await world.chat(temperature=3)
        assert response.status == 400
        assert await error_of(response) == {
            "message": "temperature must be less than or equal to 2, not 3",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "invalid_value",
        }
        response = await world.chat(model="other")
        assert response.status == 404
        error = await error_of(response)
        assert (error["code"], error["param"]) == ("model_not_found", "model") and "`other`" in error["message"]
        response = await world.chat(messages=[{"role": "user", "content": "x" * 100}])
        assert response.status == 400
        error = await error_of(response)
        assert error["code"] == "context_length_exceeded"
        assert f"{CONTEXT} tokens" in error["message"] and "105 tokens" in error["message"]
        response = await world.http.post("/v1/completions", json={"model": MODEL, "prompt": [300]})
        assert response.status == 400 and (await error_of(response))["param"] == "prompt"
        assert world.bus.statistics()["queued"] == 0


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"])
async def test_only_json_is_read(checkpoint: Path, kind: str) -> None:
    async with a_world(checkpoint) as world:
        response = await world.http.post("/v1/chat/completions", data=b"{}", headers={"Content-Type": kind})
        assert response.status == 400 and kind in (await error_of(response))["message"]
        headers = {"Content-Type": "application/json; charset=utf-8"}
        response = await world.http.post("/v1/chat/completions", data=b"{", headers=headers)
        assert (await error_of(response))["code"] == "invalid_json"


async def test_a_body_that_is_too_large_is_refused(checkpoint: Path) -> None:
    async with a_world(checkpoint, max_body_bytes=1000) as world:
        response = await world.chat(user="x" * 1000)
        assert response.status == 413
        assert (await error_of(response))["code"] == "request_too_large"


async def test_a_small_body_cannot_unpack_to_a_large_one(checkpoint: Path) -> None:
    """A compressed body counts with its size after decompression."""
    async with a_world(checkpoint, max_body_bytes=100_000) as world:
        small = gzip.compress(json.dumps(a_chat(user="x" * 10_000_000)).encode())
        assert len(small) < 100_000
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        response = await world.http.post("/v1/chat/completions", data=small, headers=headers)
        assert response.status == 413


async def test_a_body_that_does_not_unpack_is_the_clients_error(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        response = await world.http.post("/v1/chat/completions", data=b"no gzip", headers=headers)
        assert response.status == 400
        assert "gzip" in (await error_of(response))["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "unknown_url"),
        ("GET", "/v1/embeddings", 404, "unknown_url"),
        ("POST", "/v1/chat/completions/", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/models/other", 404, "model_not_found"),
        ("GET", "/v1/streams/short", 404, "stream_not_found"),
        ("POST", "/v1/streams/chatcmpl-XYZ/cancel", 404, "stream_not_found"),
    ],
)
async def test_what_is_not_there_says_so_in_json(
    checkpoint: Path, method: str, path: str, status: int, code: str
) -> None:
    async with a_world(checkpoint, ready=False) as world:
        response = await world.http.request(method, path)
        assert response.status == status
        assert (await error_of(response))["code"] == code


async def test_the_model_is_listed_under_its_served_name(checkpoint: Path) -> None:
    """Also one with a slash in it, as Hugging Face ids have."""
    async with a_world(checkpoint, served_model_name="owner/name") as world:
        listing = await (await world.http.get("/v1/models")).json()
        [model] = listing["data"]
        assert listing["object"] == "list"
        assert (model["id"], model["object"], model["max_model_len"]) == ("owner/name", "model", CONTEXT)
        for path in ("/v1/models/owner/name", "/v1/models/owner%2Fname"):
            assert await (await world.http.get(path)).json() == model


OPEN = [("GET", "/health", 200), ("GET", "/ready", 200), ("POST", UNKNOWN_STREAM + "/cancel", 204)]
CLOSED = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/x"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/debug/timeline.json"),
    ("GET", "/nothing"),
    ("GET", "/health/../v1/models"),
    ("GET", "//v1/models"),
    ("DELETE", "/health"),
]
WRONG = ["", "Bearer", "Bearer ", "Bearer wrong", "Bearer one two", "Basic one", "one", "Bearer on", "Bearer \u00e9"]


async def test_every_route_needs_the_key_but_probes_and_streams(checkpoint: Path) -> None:
    """Default deny: a path nobody thought of is closed too."""
    async with a_world(checkpoint, api_key="one, two") as world:
        for method, path, status in OPEN:
            assert (await world.http.request(method, path)).status == status, path
        for method, path in CLOSED:
            for given in WRONG:
                url = URL(world.url + path, encoded=True)  # as it stands, dots and all
                response = await world.http.request(method, url, headers={"Authorization": given} if given else {})
                assert response.status == 401, (path, given)
                assert (await error_of(response))["code"] == "invalid_api_key"
        for given in ("Bearer one", "bearer two"):
            assert (await world.http.get("/v1/models", headers={"Authorization": given})).status == 200


async def test_metrics_and_openapi_tell_of_what_runs(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        metrics = await (await world.http.get("/metrics")).text()
        assert "sluice_gateway_requests_open 0.0\n" in metrics
        assert "sluice_gateway_replies_shard_0_connected 1.0\n" in metrics
        document = await (await world.http.get("/openapi.json")).json()
        chat = document["components"]["schemas"]["ChatBody"]
        assert {"model", "messages", "top_k", "stop_token_ids", "stream_options"} <= set(chat["properties"])
        assert chat["additionalProperties"] is False
        routes = {route.resource.canonical for route in world_routes(world)}
        assert set(document["paths"]) | {"/", ASSET, PART} == routes


def world_routes(world: World) -> list[Any]:
    return [route for route in build_app(world.deps).router.routes() if route.resource is not None]


async def test_the_log_has_a_line_per_request_without_its_content(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Method, path, status and time; a stream's id, which opens it, is left out."""
    caplog.set_level(logging.INFO, logger="services.gateway")
    async with a_world(checkpoint) as world:
        await world.chat(messages=[{"role": "user", "content": "my secret"}], temperature=9)
        await world.http.post(UNKNOWN_STREAM + "/cancel")
        await world.http.get("/health")
    lines = [record.getMessage() for record in caplog.records if record.name == "services.gateway.middleware"]
    assert [line.rsplit(" ", 2)[0] for line in lines] == [
        "POST /v1/chat/completions 400",
        "POST /v1/streams/{id}/cancel 204",
    ]
    assert "secret" not in caplog.text


async def test_a_broken_handler_harms_only_its_own_request(
    checkpoint: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(checkpoint) as world:
        with monkeypatch.context() as patch:
            patch.setattr(world.bus, "submit", lambda *_: 1 / 0)
            response = await world.chat()
        assert response.status == 500
        assert await error_of(response) == {
            "message": "internal error",
            "type": "server_error",
            "param": None,
            "code": None,
        }
        assert "ZeroDivisionError" in caplog.text
        assert (await world.http.get("/v1/models")).status == 200


async def test_one_request_more_than_the_bound_is_told_to_come_again(checkpoint: Path) -> None:
    async with (
        a_world(checkpoint, max_open_requests=1) as world,
        world.http.post("/v1/chat/completions", json=a_chat(temperature=9)) as first,
    ):
        assert first.status == 400
        with world.deps.admission.slot():
            response = await world.chat()
            assert (response.status, response.headers["Retry-After"]) == (429, "5")
            assert (await error_of(response))["type"] == "rate_limit_error"
        assert (await world.chat(temperature=9)).status == 400
