"""What lies below the routes: bytes that are no HTTP, and connections that nobody uses."""

import asyncio
import logging
from pathlib import Path

import orjson
import pytest

from tests.unit.gateway.fakes import World, a_world, until

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-secret\r\n"


async def connect(world: World) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = world.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


@pytest.mark.parametrize(
    "data",
    [
        b"this is no HTTP\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS handshake
        b"GET /health HTTP/9.9\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        HEAD + b"X\x00: y\r\n\r\n",
        HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_openais_words(
    checkpoint: Path, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    """The line that is wrong may hold a key: neither the answer nor the log repeats it."""
    caplog.set_level(logging.DEBUG)
    async with a_world(checkpoint, ready=False) as world:
        reader, writer = await connect(world)
        writer.write(data)
        async with asyncio.timeout(5):
            said = await reader.read()
        writer.close()
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")) and b"X-Request-Id: req-" in head
        error = orjson.loads(body)["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_http")
        assert b"sk-secret" not in said and b"yyyy" not in said and len(error["message"]) < 200
        assert "sk-secret" not in caplog.text and "yyyy" not in caplog.text
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_what_fails_around_the_handlers_is_an_error_of_the_servers(
    checkpoint: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(checkpoint, ready=False, cors_origins="*") as world:
        monkeypatch.setattr(world.deps.keyring, "find", lambda _: 1 / 0)
        monkeypatch.setattr("services.gateway.middleware.refuse", lambda _: 1 / 0)
        async with world.http.get("/v1/models") as response:
            assert response.status == 500
            assert (await response.json())["error"]["message"] == "internal error"
    assert "ZeroDivisionError" in caplog.text


async def test_one_connection_more_than_the_bound_is_closed(checkpoint: Path) -> None:
    """And its end makes room."""
    async with a_world(checkpoint, ready=False, max_connections=2) as world:
        held = [await connect(world) for _ in range(2)]
        await until(lambda: len(world.runner.server.connections) == 2 if world.runner.server else False)
        reader, writer = await connect(world)
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionError):
                if not await reader.read():
                    raise ConnectionResetError
        writer.close()
        for _, one in held:
            one.close()
        await until(lambda: not world.runner.server.connections if world.runner.server else False)
        assert (await world.http.get("/health")).status == 200


async def test_a_connection_that_says_nothing_is_closed(checkpoint: Path) -> None:
    """Also one that never comes to the end of its headers; one that has spoken may stay."""
    async with a_world(checkpoint, ready=False, body_timeout_s=0.2) as world:
        assert (await world.http.get("/health")).status == 200
        silent, slow = await connect(world), await connect(world)
        slow[1].write(HEAD)
        for reader, writer in (silent, slow):
            async with asyncio.timeout(5):
                with pytest.raises(ConnectionError):
                    if not await reader.read():
                        raise ConnectionResetError
            writer.close()
        assert (await world.http.get("/health")).status == 200
