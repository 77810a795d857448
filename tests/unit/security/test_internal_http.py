"""The door between gateways and detokenizers: who shows no token is refused, and so is what is no message of ours."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from services.detokenizer.links import Links
from services.detokenizer.server import FrameServer
from services.gateway.link import Lines
from shared.frames import Attach, Frame, decode_attach, decode_frames, encode_attach, encode_frames

TOKEN = "internal secret"
GOOD = encode_attach(Attach("gate", {"p": ""}))
Door = TestClient[web.Request, web.Application]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    app = web.Application(client_max_size=100_000)
    links = Links(lambda parent, cursor: Frame(parent, "1", "{}", last=True, after=cursor), 10)
    FrameServer(links, TOKEN, lambda _: None).add_to(app)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize("path", ["/frames", "/attach"])
@pytest.mark.parametrize(
    "shown", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", TOKEN[:-1], "Basic x", "Bearer é"]
)
async def test_without_the_token_nobody_reads_anything(door: Door, path: str, shown: str | None) -> None:
    headers = {} if shown is None else {"Authorization": shown}
    response = await door.post(path, data=GOOD, headers=headers)
    assert response.status == 401
    assert (await response.json())["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/frames", "/attach"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"null",
        b"[" * 90_000,
        b'{"gateway": 5, "cursors": {}, "left": []}',
        b'{"gateway": "g", "cursors": [], "left": []}',
        b'{"gateway": "g", "cursors": {}}',
        b"\x00" * 1000,
    ],
)
async def test_what_is_no_attach_message_is_refused_and_the_next_one_is_heard(
    door: Door, path: str, body: bytes
) -> None:
    shown = {"Authorization": f"Bearer {TOKEN}"}
    response = await door.post(path, data=body, headers=shown)
    assert response.status == 400 and "attach" in (await response.json())["error"]["message"]
    async with door.post("/frames", data=GOOD, headers=shown) as frames:
        assert frames.status == 200
        lines = [(await frames.content.readline()).rstrip() for _ in range(2)]  # when it was written, and what
        assert decode_frames(lines[-1]) != []


async def test_more_than_a_message_may_have_is_refused(door: Door) -> None:
    shown = {"Authorization": f"Bearer {TOKEN}"}
    assert (await door.post("/attach", data=b" " * 100_001, headers=shown)).status == 413


@given(data=st.binary(max_size=80))
def test_any_bytes_are_an_attach_message_or_a_value_error(data: bytes) -> None:
    for body in (data, GOOD[: len(data)], GOOD + data):
        try:
            assert isinstance(decode_attach(body), Attach)
        except ValueError:
            continue


@given(data=st.binary(max_size=80), cut=st.integers(0, 60))
def test_any_bytes_are_frames_or_an_error_that_ends_the_connection(data: bytes, cut: int) -> None:
    """`services/gateway/link.py` connects anew after a ValueError or TypeError, and lists what it wants."""
    whole = encode_frames([Frame("p", "1", "x", after="")])
    for chunk in (b"data: " + data, whole[:cut] + data, data):
        for line in Lines().feed(chunk + b"\n"):
            try:
                assert all(isinstance(frame, Frame) for frame in decode_frames(line))
            except (ValueError, TypeError):
                continue
