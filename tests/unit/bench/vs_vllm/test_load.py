"""What a generator is asked, what its figures come to, and when a round does not count."""

import random
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tokenizers import Tokenizer, models, pre_tokenizers

from bench.vs_vllm.generator import SPECIAL, Answer, ask, random_prompts, summary
from bench.vs_vllm.load import RESULT, Load, command, parse, run

LOAD = Load(requests=2, clients=2, tokens_in=8, tokens_out=4)
WRITTEN = {  # as `vllm bench serve --save-detailed` does, of which we read a part
    "backend": "openai",
    "request_rate": "inf",
    "completed": 2,
    "total_output_tokens": 8,
    "duration": 0.5,
    "output_throughput": 16.0,
    "ttfts": [0.1, 0.2],
    "itls": [[0.01, 0.02, 0.03], [0.05, 0.05]],
    "median_ttft_ms": 150.0,
    "p99_ttft_ms": 199.0,
    "median_tpot_ms": 26.0,
    "median_itl_ms": 30.0,
    "p99_itl_ms": 50.0,
}


def test_figures_are_read_as_the_generator_wrote_them() -> None:
    """Frames are the first of each answer and one for each gap: here seven, for eight tokens."""
    figures = parse(WRITTEN)
    assert (figures.requests, figures.tokens, figures.tokens_per_s) == (2, 8, 16.0)
    assert figures.frames_per_token == 7 / 8
    assert (figures.ttft_ms, figures.ttft_p99_ms) == (150.0, 199.0)
    assert (figures.tpot_ms, figures.itl_ms, figures.itl_p99_ms) == (26.0, 30.0, 50.0)


def test_an_answer_that_never_began_has_no_frame() -> None:
    figures = parse(WRITTEN | {"ttfts": [0.1, 0.0], "itls": [[0.01, 0.02, 0.03], []], "total_output_tokens": 4})
    assert figures.frames_per_token == 1.0


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="p99_ttft_ms"):
        parse({name: value for name, value in WRITTEN.items() if name != "p99_ttft_ms"})


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, ""),
        ({"completed": 1}, "1 of 2 requests, 8 of 8 tokens"),
        ({"total_output_tokens": 7}, "2 of 2 requests, 7 of 8 tokens"),
    ],
)
def test_a_round_counts_only_if_all_was_answered(changed: dict[str, int], fault: str) -> None:
    """A stream that breaks after its first token is a success to the generator; its tokens are not all there."""
    assert parse(WRITTEN | changed).fault(LOAD) == fault


def test_at_a_rate_nobody_waits_for_a_client_to_be_free() -> None:
    """As many requests may be open as there are; a seed and a place for the result go with every load."""
    closed = command(LOAD, "http://here", Path("/model"), 7, Path("/tool"), "/tmp/out")
    assert closed[:8] == ("/tool", "bench", "http://here", "/model", "8", "4", "2", "2")
    assert closed[closed.index("--seed") + 1] == "7" and "--request-rate" not in closed
    at_a_rate = command(replace(LOAD, requests=9, rate=1.5), "http://here", Path("/model"), 7, None, "/tmp/out")
    assert at_a_rate[at_a_rate.index("/model") + 1 :][:4] == ("8", "4", "9", "9")
    assert at_a_rate[at_a_rate.index("--request-rate") + 1] == "1.5"


async def test_a_generator_that_fails_is_quoted(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho no such model; exit 3\n")
    tool.chmod(0o755)
    with pytest.raises(RuntimeError, match=r"\(3\)(.|\n)*no such model"):
        await run(LOAD, "http://here", Path("/model"), 0, tool)


async def test_the_result_is_found_where_the_generator_was_told_to_put_it(tmp_path: Path) -> None:
    result, tool = tmp_path / "written.json", tmp_path / "tool"
    figures = summary([Answer(4, 0.1, [0.01] * 3), Answer(4, 0.1, [0.01] * 3)], 0.5)
    result.write_text(str(figures).replace("'", '"'))
    words = 'while [ "$1" != --result-dir ]; do shift; done\n'
    tool.write_text(f'#!/bin/sh\n{words}cp {result} "$2/{RESULT}"\n')
    tool.chmod(0o755)
    assert (await run(LOAD, "http://here", Path("/model"), 0, tool)).fault(LOAD) == ""


def test_our_generator_counts_only_answers_that_came_to_their_end() -> None:
    """And says so in the form that is read."""
    whole, broken = Answer(tokens=3, ttft_s=0.1, gaps_s=[0.01, 0.03]), Answer(ttft_s=0.5, gaps_s=[9.0])
    figures = parse(summary([whole, broken], seconds=2.0))
    assert (figures.requests, figures.tokens, figures.tokens_per_s) == (1, 3, 1.5)
    assert (figures.ttft_ms, figures.tpot_ms, figures.itl_ms) == pytest.approx((100, 20, 20))


async def test_a_comment_is_no_frame_and_takes_none_with_it() -> None:
    """Whoever waits in a queue gets comments; each comes in a packet of its own."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in (": queued", *['data: {"choices": [{}]}'] * 2, 'data: {"usage": {"completion_tokens": 2}}'):
            await response.write(event.encode() + b"\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/completions", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        found = await ask(session, str(server.make_url("")).rstrip("/"), {})
    assert found.tokens == 2 and found.ttft_s > 0 and len(found.gaps_s) == 1


def test_our_generator_asks_the_same_for_the_same_seed() -> None:
    words = {f"w{number}": number for number in range(64)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    first, again = (random_prompts(tokenizer, 3, 5, random.Random(1)) for _ in range(2))
    assert first == again and len(set(first)) == 3
    assert [len(prompt.split()) for prompt in first] == [5, 5, 5]
    assert all(words[word] >= SPECIAL for prompt in first for word in prompt.split())
