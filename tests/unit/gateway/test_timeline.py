"""`/debug/timeline` and its data: whom it asks, who may ask it, and what it costs when a service does not answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from services.gateway.timeline import collection
from services.gateway.timeline.routes import FOLDER, TYPES
from shared import ops
from shared.messages import EngineStatus, GatewayStatus, ShardStatus
from shared.telemetry.spans import Context, Span, now_ns, request_digest
from tests.unit.gateway.fakes import CONTEXT, LONG_MS, VOCABULARY, World, a_world, error_of
from tests.unit.gateway.timeline_cases import a_second, body

DATA = "/debug/timeline.json"
Answering = Callable[[web.Request], Any]


@asynccontextmanager
async def a_service(answer: Answering) -> AsyncIterator[str]:
    """Something that is asked for its spans."""

    async def spans(request: web.Request) -> web.StreamResponse:
        found = answer(request)
        return web.Response(body=found) if isinstance(found, bytes) else await found

    app = web.Application()
    app.router.add_get("/debug/spans", spans)
    runner, port = await ops.serve(app, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def announce(world: World, **urls: str) -> None:
    for name, url in urls.items():
        if name.startswith("engine"):
            status = EngineStatus(
                name=f"{name}.1", state="ready", max_model_len=CONTEXT, vocab_size=VOCABULARY, url=url
            )
            await world.bus.announce_engine(status, LONG_MS)
        elif name.startswith("gateway"):
            await world.bus.announce_gateway(GatewayStatus(name=name, url=url), LONG_MS)
        else:
            await world.bus.announce_shard(ShardStatus(shard=0, url=url, instance="other"), LONG_MS)


async def look(world: World, **query: str) -> dict[str, Any]:
    response = await world.http.get(DATA, params=query)
    assert response.status == 200, await response.text()
    found: dict[str, Any] = await response.json()
    return found


def problems(document: dict[str, Any]) -> dict[str, str]:
    return {one["process"]: one["problem"] for one in document["otherData"]["services"]}


async def test_every_living_service_is_asked_with_the_token_and_the_gateway_itself_told_directly(
    checkpoint: Path,
) -> None:
    asked: list[tuple[str, str]] = []
    spans = a_second(time.time_ns())

    def answer(kind: str) -> Answering:
        def one(request: web.Request) -> bytes:
            asked.append((request.headers["Authorization"], request.query["seconds"]))
            return body(kind, "x", spans[kind])

        return one

    async with a_world(checkpoint) as world, AsyncExitStack() as stack:
        kinds = {"engine": "engine", "gateway-2": "gateway", "detokenizer": "detokenizer"}
        urls = {name: await stack.enter_async_context(a_service(answer(kind))) for name, kind in kinds.items()}
        await announce(world, **urls)
        mine = Span("mine", Context.new(sampled=True), "", now_ns() - 1000, now_ns())
        world.deps.telemetry.recorder.record(mine)
        document = await look(world, seconds="5", request="id-1")
    assert asked == [("Bearer secret", "5")] * 3
    assert list(problems(document)) == [
        *(f"gateway {world.deps.gateway}", "gateway gateway-2", "engine engine.1", "detokenizer 0.other"),
    ]
    assert set(problems(document).values()) == {""}
    assert "mine" in {event["name"] for event in document["traceEvents"]}
    assert document["otherData"]["request"]["digest"] == request_digest("id-1")
    assert len(document["otherData"]["request"]["traces"]) == 1


async def never(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def elsewhere(_: web.Request) -> web.Response:
    raise web.HTTPFound("http://127.0.0.1:1/secret")


async def refused(_: web.Request) -> web.Response:
    return web.Response(status=401)


WRONG: list[tuple[Answering, str]] = [
    (lambda request: never(request), "does not answer within 0.2 s"),
    (lambda request: endless(request), "says more than 1 MiB"),
    (lambda request: elsewhere(request), "answers 302"),
    (lambda request: refused(request), "answers 401"),
    (lambda _: b"<html>", "says something that is no list of spans"),
]


@pytest.mark.parametrize(("answer", "problem"), WRONG, ids=[problem for _, problem in WRONG])
async def test_a_service_that_is_slow_or_lies_is_named_and_costs_the_others_nothing(
    answer: Answering, problem: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "ANSWER_S", 0.2)
    monkeypatch.setattr(collection, "MOST_BYTES", 1 << 20)
    good = body("gateway", "x", a_second(time.time_ns())["gateway"])
    async with a_world(checkpoint) as world, a_service(answer) as bad, a_service(lambda _: good) as fine:
        await announce(
            world, engine=bad, **{"gateway-2": fine, "engine-2": "no url", "detokenizer": "http://127.0.0.1:1"}
        )
        document = await look(world)
    found = problems(document)
    assert found["engine engine.1"] == problem
    assert found["engine engine-2.1"].startswith("cannot be asked")
    assert found["detokenizer 0.other"].startswith("cannot be asked")
    assert found["gateway gateway-2"] == ""
    assert sum(event["name"] == "relay" for event in document["traceEvents"]) == 6


async def test_without_the_bus_a_gateway_tells_of_itself(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        world.bus.down = True
        found = problems(await look(world))
    assert found == {f"gateway {world.deps.gateway}": "", "bus": "does not answer: the other services cannot be found"}


async def test_who_asks_at_the_same_time_shares_one_look(checkpoint: Path) -> None:
    asked = 0

    def answer(_: web.Request) -> bytes:
        nonlocal asked
        asked += 1
        return body("engine", "x", [])

    async with a_world(checkpoint) as world, a_service(answer) as url:
        await announce(world, engine=url)
        await asyncio.gather(*(look(world, seconds="3") for _ in range(12)))
        assert asked <= 2
        await look(world, seconds="4")
    assert asked <= 3


@pytest.mark.parametrize("query", [{"seconds": s} for s in ("0", "-1", "301", "x", "nan")] + [{"request": "x" * 201}])
async def test_what_cannot_be_looked_at_is_named(query: dict[str, str], checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        response = await world.http.get(DATA, params=query)
        assert response.status == 400
        assert (await error_of(response))["param"] in query


async def test_the_data_needs_the_key_and_the_page_holds_nothing_but_itself(checkpoint: Path) -> None:
    async with a_world(checkpoint, api_key="k") as world:
        assert (await world.http.get(DATA)).status == 401
        data = await world.http.get(DATA, headers={"Authorization": "Bearer k"})
        assert data.status == 200 and data.headers["Cache-Control"] == "no-store"
        for path in sorted(FOLDER.iterdir()):
            part = await world.http.get(f"/debug/timeline/{path.name}")
            assert part.status == 200 and part.content_type == TYPES[path.suffix]
            assert "default-src 'none'" in part.headers["Content-Security-Policy"]
        page = await world.http.get("/debug/timeline")
        assert page.status == 200 and page.content_type == "text/html"
        assert "http://" not in (await page.text()).replace("http://www.w3.org/2000/svg", "")
        assert (await world.http.get("/debug/timeline/nothing.js")).status == 404
        assert (await world.http.get("/debug/timeline/..%2froutes.py")).status == 404
