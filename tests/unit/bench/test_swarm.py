"""The load generator against a server whose every byte is known. A server that has said enough closes the connection,
and when all have been closed the generator ends, so nothing waits for a time to pass."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench.clock_model import WORDS
from bench.swarm import Heard, Load, compiled, swarm
from services.engine.worker.sim import TICK_S

ANSWERS = 3  # of each connection
Word = Callable[[], int]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("cc"):
        pytest.skip("no C compiler: the load generator is not tested")
    return compiled(tmp_path_factory.mktemp("swarm"))


def ticks() -> int:
    return int(time.monotonic() / TICK_S)


def event(words: list[int], reason: str | None = None) -> bytes:
    text = "".join(f" {word:05}" for word in words)
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
    return b"data: " + orjson.dumps({"id": "r", "choices": [choice]}) + b"\n\n"


class Server:
    """Streams `merged` words in a frame, cut into chunks of `cut` bytes that heed no line."""

    def __init__(self, word: Word, merged: int, cut: int) -> None:
        self._word, self._merged, self._cut = word, merged, cut
        self.asked: list[dict[str, Any]] = []
        self.frames = self.tokens = 0
        self._answers: dict[Any, int] = {}

    async def stream(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.asked.append(body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        transport = request.transport
        assert transport is not None
        self._answers[transport] = self._answers.get(transport, 0) + 1
        if self._answers[transport] > ANSWERS:
            transport.abort()
            return response
        await response.prepare(request)
        data, left = b": a comment\n\n", body["max_tokens"]
        while left:
            words = [self._word() for _ in range(min(self._merged, left))]
            data, left = data + event(words), left - len(words)
            self.frames, self.tokens = self.frames + 1, self.tokens + len(words)
        data += event([], "length") + b"data: [DONE]\n\n"
        for begin in range(0, len(data), self._cut):
            await response.write(data[begin : begin + self._cut])
        await response.write_eof()
        return response


async def loaded(
    program: Path, handler: Callable[[web.Request], Any], clients: int = 3, words: int = WORDS, tokens: int = 10
) -> Heard:
    app = web.Application()
    app.router.add_post("/v1/completions", handler)
    load = Load(clients=clients, tokens=tokens, warm_up_s=0.0, seconds=60.0)
    async with TestServer(app) as server:
        assert server.port is not None
        return await swarm(program, server.port, "clock", load, words=words)


@pytest.mark.parametrize("merged", [1, 4])
@pytest.mark.parametrize("cut", [7, 1 << 20])
async def test_every_event_and_every_word_is_counted(program: Path, merged: int, cut: int) -> None:
    """Whether a frame holds one word or several, and wherever chunks cut it."""
    server = Server(ticks_word, merged, cut)
    heard = await loaded(program, server.stream)
    assert (heard.answers, heard.frames, heard.tokens) == (9, server.frames, server.tokens)
    assert heard.events == server.frames + 2 * heard.answers  # the last with text and [DONE] have none
    assert heard.age_ms.count == heard.tokens and heard.ttft_ms.count == 6  # the first were asked before
    assert (heard.open, heard.failures, heard.failure) == (0, 3, "the server closed a connection")
    assert heard.bytes > 100 * server.frames and 0 < heard.cpu_seconds < 10 and 0 < heard.seconds < 60


def ticks_word() -> int:
    return ticks() % WORDS


async def test_requests_are_back_to_back_and_no_two_prompts_are_alike(program: Path) -> None:
    """The first answers are of different lengths, the others of the length that was asked for."""
    server = Server(ticks_word, 1, 1 << 20)
    await loaded(program, server.stream, clients=2, tokens=9)
    assert sorted(asked["max_tokens"] for asked in server.asked) == [1, 5] + [9] * 6
    prompts = [asked["prompt"] for asked in server.asked]
    assert len(set(prompts)) == len(prompts) == 8 and all(len(prompt.split()) == 32 for prompt in prompts)
    assert all(asked["stream"] and asked["ignore_eos"] and asked["model"] == "clock" for asked in server.asked)


async def test_a_words_age_is_read_also_where_the_numbers_have_begun_again(program: Path) -> None:
    """Two seconds old, of a clock that began again within them."""
    words, two_s = next(size for size in range(40_000, 65_536) if ticks() % size < 2000), round(2 / TICK_S)
    server = Server(lambda: (ticks() - two_s) % words, 1, 1 << 20)
    heard = await loaded(program, server.stream, words=words)
    assert 2000 <= heard.age_ms.p50 <= heard.age_ms.p99 <= heard.age_ms.max < 7000


async def test_a_word_from_the_future_is_of_no_age(program: Path) -> None:
    """A timer that goes off before the end of its step."""
    server = Server(lambda: (ticks() + 8000) % WORDS, 1, 1 << 20)
    assert (await loaded(program, server.stream)).age_ms.max == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: web.json_response({"error": "too many"}, status=429), "HTTP/1.1 429 Too Many Requests"),
        (lambda: web.Response(text="data: {'error': 1}\n\n"), "the server closed a connection"),
    ],
)
async def test_a_refusal_is_told_and_not_repeated(program: Path, answer: Callable[[], web.Response], said: str) -> None:
    """The client whose request failed asks no more; the first failure's words are kept."""

    async def refuse(request: web.Request) -> web.Response:
        response = answer()
        response.force_close()
        return response

    heard = await loaded(program, refuse)
    assert (heard.answers, heard.failures, heard.open) == (0, 3, 0)
    assert heard.failure.startswith(said)


async def test_words_that_are_not_the_clocks_are_a_failure(program: Path) -> None:
    """Another model's text is not read as the time."""

    async def story(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'data: {"choices":[{"text":" once"}]}\n\n')
        return response

    heard = await loaded(program, story, clients=1)
    assert heard.failure.startswith("no words of the clock: data: ")


def test_without_a_compiler_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, with the remedy; one that fails shows what it said."""
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(RuntimeError, match="no compiler: install one as `cc`, or set CC"):
        compiled(tmp_path)
    monkeypatch.setenv("CC", "false")
    with pytest.raises(RuntimeError, match=r"cannot compile swarm\.c"):
        compiled(tmp_path)
    assert not list(tmp_path.iterdir())
