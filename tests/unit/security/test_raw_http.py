"""Bytes on the gateway's port that are no good HTTP, or come too slowly."""

from pathlib import Path

import pytest

from tests.unit.gateway.fakes import a_world, start
from tests.unit.security.sockets import raw, serves

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        HEAD + b"Content-Length: -1\r\n\r\n{}",
        HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}",
        HEAD + b"Content-Length: 20\r\n\r\n{}",  # and nothing more comes
        HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        HEAD + b"X\x00: y\r\n\r\n",
        b"GET /v1/models/%ff%fe%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET //v1//models HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /health HTTP/9.9\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_good_http_get_a_refusal_or_no_answer(checkpoint: Path, data: bytes) -> None:
    """Also a body that stops in the middle, which is given up after its time."""
    async with a_world(checkpoint, body_timeout_s=0.3) as world:
        said = await raw(world, data)
        assert not said or said.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), said
        await serves(world)


async def test_a_client_that_sends_its_body_slowly_holds_nobody_up(checkpoint: Path) -> None:
    async with a_world(checkpoint, body_timeout_s=0.5) as world:
        slow = start(raw(world, HEAD + b"Content-Length: 1000\r\n\r\n{"))
        await serves(world)
        assert (await slow).startswith(b"HTTP/1.1 408")
