"""Searches for requests that the gateway cannot take: each is answered at once with a 4xx that names what is wrong, and
the next good request is served."""

import asyncio
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from services.gateway import docs
from services.gateway.app import build_app
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.tokenizing import DetokenizeBody, TokenizeBody
from services.gateway.validation import parse, shaped
from shared.errors import ClientError
from tests.unit.gateway.fakes import MODEL, World, a_chat, a_world, error_of
from tests.unit.security.sockets import ANSWER_S, raw, serves

JSON = {"Content-Type": "application/json"}
ZIPPED = JSON | {"Content-Encoding": "gzip", "Connection": "close"}
STREAM = "/v1/streams/chatcmpl-" + "0" * 32
CHAT, COMPLETION = a_chat(), {"model": MODEL, "prompt": "hi"}
SPOKEN = {  # every route, and which tests here try it
    ("POST", "/v1/chat/completions"): "bodies",
    ("POST", "/v1/completions"): "bodies",
    ("GET", "/v1/models"): "plain",
    ("GET", "/v1/models/{id}"): "paths",
    ("GET", "/v1/streams/{id}"): "paths",
    ("POST", "/v1/streams/{id}/cancel"): "paths",
    ("POST", "/tokenize"): "bodies",
    ("POST", "/detokenize"): "bodies",
    ("GET", "/openapi.json"): "plain",
    ("GET", "/docs"): "plain",
    ("GET", "/docs/reference.css"): "plain",
    ("GET", "/docs/reference.js"): "plain",
    ("GET", "/health"): "plain",
    ("GET", "/ready"): "plain",
    ("GET", "/metrics"): "plain",
    ("GET", "/"): "plain",
    ("GET", "/assets/{name}"): "paths",
    ("GET", "/debug/timeline"): "plain",
    ("GET", "/debug/timeline/{name}"): "paths",
    ("GET", "/debug/timeline.json"): "plain",
}
BODIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "/v1/chat/completions": (ChatBody, CHAT),
    "/v1/completions": (CompletionBody, COMPLETION),
    "/tokenize": (TokenizeBody, {"prompt": "hi"}),
    "/detokenize": (DetokenizeBody, {"tokens": [1]}),
}
junk = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(exclude_categories=[]), max_size=20)
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({"tools", "logit_bias", "response_format"}.union(*(kind.model_fields for kind, _ in BODIES.values())))


@dataclass(frozen=True, slots=True)
class Sent:
    path: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


@st.composite
def hostile_bodies(draw: st.DrawFn) -> Sent:
    path = draw(st.sampled_from(sorted(BODIES)))
    body: Any = BODIES[path][1] | draw(st.dictionaries(st.sampled_from(FIELDS), junk, min_size=1, max_size=3))
    data = json.dumps(body).encode()
    match draw(st.integers(0, 4)):
        case 0:
            data = data[: draw(st.integers(0, len(data)))]
        case 1:
            at = draw(st.integers(0, len(data)))
            data = data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at:]
    return Sent(path, data)


async def refused(world: World, sent: Sent) -> dict[str, Any]:
    """The error of an answer that must come, and be the client's fault."""
    async with asyncio.timeout(ANSWER_S):
        async with world.http.post(sent.path, data=sent.data, headers=sent.headers) as response:
            assert 400 <= response.status < 500, (response.status, sent)
            error = await error_of(response)
    assert error["type"] in ("invalid_request_error", "rate_limit_error") and 0 < len(error["message"]) < 500
    return error


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(many=st.lists(hostile_bodies(), min_size=10, max_size=30))
def test_no_body_is_answered_with_more_than_a_refusal(checkpoint: Path, many: list[Sent]) -> None:
    """Wrong types, unknown fields, halves of surrogates, NaN, cut or overwritten JSON, in any combination."""

    def wrong(sent: Sent) -> bool:
        try:
            (parse if sent.path.startswith("/v1") else shaped)(BODIES[sent.path][0], sent.data)
        except ClientError:
            return True
        return False

    async def run() -> None:
        async with a_world(checkpoint) as world:
            for sent in filter(wrong, many):
                await refused(world, sent)
            await serves(world)

    asyncio.run(run())


BAD_BODIES: list[tuple[bytes, str | None]] = [
    (b'{"model":"tiny","model":"other","messages":[{"role":"user","content":"x"}]}', "model"),  # the last one counts
    (b'{"model":"tiny","messages":[{"role":"user","content":"' + b"\xff" + b'"}]}', None),
    (b'{"model":"tiny","messages":' + b"[" * 200_000, None),
    (b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"seed":' + b"9" * 100_000 + b"}", None),
    (json.dumps(CHAT | {"n": 10**6}).encode(), "n"),
    (json.dumps(CHAT | {"max_tokens": 10**12}).encode(), "max_tokens"),
    (json.dumps(CHAT | {"stop": ["x"] * 10_000}).encode(), "stop"),
    (json.dumps(CHAT | {"stop_token_ids": [10**6]}).encode(), "stop_token_ids"),
    (json.dumps(CHAT | {"logit_bias": {"300": 1}}).encode(), "logit_bias"),
    (json.dumps(CHAT | {"chat_template": "{{ 1 }}"}).encode(), "chat_template"),
    (json.dumps(CHAT | {"chat_template_kwargs": {"tokenize": 1}}).encode(), "chat_template_kwargs.tokenize"),
    (json.dumps(CHAT | {"tools": [{"type": "function", "function": {"name": "f"}}]}).encode(), "tools"),
    (json.dumps(CHAT | {"timeout": "NaN"}).encode(), "timeout"),
    (json.dumps(a_chat(messages=[{"role": "user", "content": "x" * 400_000}])).encode(), "messages"),
    (b"", None),
    (b"\x00" * 1000, None),
    (b"\x1f\x8b" * 1000, None),
]


async def test_what_cannot_be_served_is_refused_by_name(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        for data, param in BAD_BODIES:
            error = await refused(world, Sent("/v1/chat/completions", data))
            assert error["param"] == param, (data[:80], error)
        await serves(world)


async def test_other_kinds_and_sizes_of_bodies_are_refused(checkpoint: Path) -> None:
    """Content types, encodings that lie, a bomb of zeros, more than the bound."""
    good = json.dumps(CHAT).encode()
    async with a_world(checkpoint, max_body_bytes=10_000) as world:
        for headers in (
            {"Content-Type": "text/plain"},
            {"Content-Type": "multipart/form-data"},
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Content-Type": ";;;"},
            JSON | {"Content-Encoding": "gzip"},
        ):
            await refused(world, Sent("/v1/chat/completions", good, headers | {"Connection": "close"}))

        bomb = Sent("/v1/chat/completions", gzip.compress(b" " * 10_000_000), ZIPPED)
        await refused(world, bomb)
        async with world.http.post("/v1/completions", data=b" " * 10_001, headers=JSON) as response:
            assert (response.status, (await error_of(response))["code"]) == (413, "request_too_large")
        await serves(world)


HEADERS: list[tuple[str, str, str | None]] = [
    *(("Idempotency-Key", value, "Idempotency-Key") for value in ("", " ", "a b", "x" * 256, "ключ", "é")),
    *(("X-On-Disconnect", value, "X-On-Disconnect") for value in ("", "never", "detach=", "detach=999999", "é" * 200)),
    *(("X-Lane", value, "X-Lane") for value in ("fast", "interactive,batch", "x" * 5000)),
]
IGNORED = [
    *(("traceparent", value) for value in ("", "00-" + "0" * 32 + "-" + "0" * 16 + "-00", "x" * 4000, "é")),
    *(("x-stainless-read-timeout", value) for value in ("NaN", "-1", "inf", "1e999", "never", "")),
    *(("Accept", value) for value in ("", "*/*", "x" * 4000)),
    *(("Authorization", value) for value in ("", "Bearer", "Basic x", "Bearer " + "x" * 4000, "é é")),
]


async def test_a_header_that_makes_no_sense_is_refused_by_name_or_counts_for_nothing(checkpoint: Path) -> None:
    data = json.dumps(CHAT).encode()
    async with a_world(checkpoint) as world:
        for name, value, param in HEADERS:
            error = await refused(world, Sent("/v1/chat/completions", data, JSON | {name: value}))
            assert error["param"] == param, (name, value, error)
        wrong = json.dumps(CHAT | {"n": 0}).encode()
        for name, value in IGNORED:
            error = await refused(world, Sent("/v1/chat/completions", wrong, JSON | {name: value}))
            assert error["param"] == "n", (name, value, error)
        await serves(world)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), min_size=5, max_size=15),
    query=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
def test_no_path_and_no_query_harms(checkpoint: Path, names: list[str], query: str) -> None:
    """Models and streams that are none are 404, and the plain routes answer whatever is asked of them."""

    async def run() -> None:
        async with a_world(checkpoint) as world:
            for name in names:
                for method, path in (
                    *(("GET", f"/v1/models/{name}"), ("GET", f"/v1/streams/{name}"), ("GET", f"/{name}")),
                    *(("POST", f"/v1/streams/{name}/cancel"), ("DELETE", f"/v1/streams/{name}")),
                ):
                    if name == MODEL:
                        continue
                    async with asyncio.timeout(ANSWER_S):
                        url = URL(world.url) / path.lstrip("/") % {"starting_after": query, "x": name}
                        async with world.http.request(method, url) as response:
                            assert response.status in (200, 404, 405), (method, path)
                            if response.status != 200:
                                await error_of(response)
            for (method, route), kind in SPOKEN.items():
                if kind == "plain":
                    async with world.http.request(method, route, params={"x": query}) as response:
                        assert response.status == 200
            await serves(world)

    asyncio.run(run())


@pytest.mark.parametrize("cursor", ["\u2028", "a\tb", "\x7f"])
async def test_a_cursor_that_cannot_be_one_is_refused_before_anybody_is_asked(checkpoint: Path, cursor: str) -> None:
    async with a_world(checkpoint) as world:
        async with world.http.get(STREAM, params={"starting_after": cursor}) as response:
            assert (response.status, (await error_of(response))["param"]) == (400, "starting_after")
        await serves(world)


async def test_every_route_is_tried_here(checkpoint: Path) -> None:
    """A new route fails this test until it is searched as well."""
    async with a_world(checkpoint) as world:
        app = build_app(world.deps)
        routes = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}
    assert {route for route in routes if route[0] != "HEAD"} == set(SPOKEN)


async def test_without_a_key_no_route_says_more_than_whether_it_lives(checkpoint: Path) -> None:
    """Default deny, by the route that was found and not by the text of the path (vLLM's CVE-2026-48746)."""
    streams = {"/v1/streams/{id}", "/v1/streams/{id}/cancel"}
    pages = {"/", "/assets/{name}", "/debug/timeline", "/debug/timeline/{name}", *docs.FILES}
    open_routes = pages | streams | {"/health", "/ready"}
    async with a_world(checkpoint, api_key="k") as world:
        for method, route in SPOKEN:
            path = STREAM.join(route.split("/v1/streams/{id}")).replace("{id}", MODEL).replace("{name}", "none.js")
            if method == "GET" and "streams" in route:
                continue  # its id is its key; it would wait for its first event
            async with world.http.request(method, path, json={}) as response:
                assert (response.status == 401) is (route not in open_routes), (route, response.status)
        strange = "//v1/models", "/v1/models/", "/V1/MODELS", "/v1/./models", "/health/../v1/models", "/v1%2fmodels"
        for path in strange:
            said = await raw(world, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert said.startswith(b"HTTP/1.1 401"), (path, said)
