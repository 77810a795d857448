"""The judge itself: what it lets pass and what it does not. Without this a chaos test that is green says nothing."""

import asyncio

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from tests.chaos.cases import CLOSEST, load
from tests.chaos.clients import Complaint, Told, events
from tests.chaos.judging import differences
from tests.chaos.memory import Flat
from tests.chaos.proxy import Proxy

WORDS = ("Once", " upon", " a", " time")


def told(words: tuple[str, ...] = WORDS, merged: int = 1) -> Told:
    """What a client hears of these tokens, `merged` of them in each event."""
    heard = Told(0)
    for end in range(merged, len(words) + 1, merged):
        heard.hear(str(end), chunk("".join(words[end - merged : end])))
    heard.hear(str(len(words) + 1), chunk("", "length"))
    heard.hear("", "[DONE]")
    return heard


def chunk(text: str, finish: str | None = None) -> str:
    reason = f'"{finish}"' if finish else "null"
    return f'{{"choices": [{{"text": "{text}", "finish_reason": {reason}}}]}}'


def test_the_same_answer_in_other_portions_is_the_same() -> None:
    """A resumed stream brings several tokens in one event."""
    assert differences(told(merged=2), told()) == []


@pytest.mark.parametrize(
    "words",
    [WORDS[:2] + WORDS[3:], WORDS[:2] + WORDS[1:], (*WORDS[:2], WORDS[3], WORDS[2]), WORDS[:3], (*WORDS, "!")],
    ids=["lost", "doubled", "swapped", "short", "long"],
)
def test_a_token_that_is_lost_doubled_or_moved_is_seen(words: tuple[str, ...]) -> None:
    assert len(differences(told(words), told())) == 1


def test_a_token_that_is_moved_within_the_same_text_is_seen() -> None:
    """The whole text is right, but at offset 1 the client had been shown another."""
    assert differences(told(("Once upon", "", " a", " time")), told()) != []


@pytest.mark.parametrize("again", ["2", "1", "5"], ids=["the same", "an older one", "the end"])
def test_an_event_that_comes_twice_is_a_complaint(again: str) -> None:
    heard = told() if again == "5" else Told(0)
    for offset in ("1", "2"):
        if again != "5":
            heard.hear(offset, chunk("x"))
    with pytest.raises(Complaint, match="twice"):
        heard.hear(again, chunk("x", "length" if again == "5" else None))


def test_an_error_in_the_stream_is_a_complaint() -> None:
    with pytest.raises(Complaint, match="boom"):
        Told(0).hear("1", '{"error": {"message": "boom"}}')


def test_no_case_is_a_close_call_and_each_is_itself() -> None:
    """32 clients, half of them greedy; what float noise could turn is not among them."""
    cases = load()
    assert len(cases) == 32 and len({case.prompt for case in cases}) == 32
    assert min(case.gap for case in cases) > CLOSEST
    assert sum(case.temperature == 0 for case in cases) == 16


async def test_half_an_event_is_none() -> None:
    """A connection that breaks in the middle of an event must not advance the client."""
    content = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 1 << 16)
    content.feed_data(b": keep-alive\n\nid: 1\ndata: {}\n\ndata: one\n\nid: 2\ndata: tw")
    content.feed_eof()
    assert [event async for event in events(content)] == [("1", "{}"), ("1", "one")]


def test_memory_that_grows_is_seen_and_noise_is_not() -> None:
    """Judged by what each third of the run needed at most."""
    flat, growing = Flat(), Flat()
    for sample in range(30):
        flat.see("a", (100 + sample % 3) << 20)
        growing.see("a", (100 + 4 * sample) << 20)
    assert flat.complaints() == [] and len(growing.complaints()) == 1


async def test_the_proxy_cuts_refuses_and_holds() -> None:
    """Bytes pass; a cut breaks what is there; a refusal what comes; and what is held comes later."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        proxy = Proxy(("127.0.0.1", server.sockets[0].getsockname()[1]))
        await proxy.start()
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        assert proxy.hold() == 1
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(3), 0.1)
        proxy.welcome()
        assert await reader.readexactly(3) == b"two"
        assert proxy.refuse() == 1
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        assert await reader.read() == b""
        writer.close()
        await proxy.close()
