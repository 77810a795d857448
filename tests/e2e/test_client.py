"""The official `openai` client, unchanged, against the whole set."""

import asyncio
from itertools import pairwise
from typing import Any, cast

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam

from tests.e2e.stack import Stack

MODEL = "sluice-demo"
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the gateway?"}]


def idle(metrics: dict[str, float]) -> bool:
    """Nothing is held, and every block is free; the last step of a request may end a little after the request."""
    free = metrics["sluice_engine_scheduler_free_blocks"] == metrics["sluice_engine_scheduler_num_blocks"]
    return free and not metrics["sluice_engine_ledger_held"] and not metrics["sluice_engine_scheduler_running"]


async def streamed(client: AsyncOpenAI, **options: object) -> tuple[str, list[str | None]]:
    """The text of a streamed chat, and the finish reasons of its chunks."""
    stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True, **options)  # type: ignore[call-overload]
    text, reasons = "", []
    async for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasons.append(choice.finish_reason)
    return text, reasons


async def test_a_stream_says_what_the_whole_answer_says(client: AsyncOpenAI) -> None:
    """Greedy, streamed and not: one text, and it comes in pieces."""
    whole = await client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=60)
    text, reasons = await streamed(client, temperature=0, max_tokens=60)
    assert text == whole.choices[0].message.content and text
    assert reasons[-1] == whole.choices[0].finish_reason and set(reasons[:-1]) == {None}
    assert len(reasons) > 5


async def test_usage_counts_what_was_read_and_written(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        stream=True,
        max_tokens=7,
        temperature=0,
        extra_body={"ignore_eos": True},
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    usage = chunks[-1].usage
    assert usage and not chunks[-1].choices
    assert usage.completion_tokens == 7 and usage.total_tokens == usage.prompt_tokens + 7
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_choices_of_one_request_come_interleaved_and_whole(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, stream=True, n=3, temperature=1.0, seed=5, max_tokens=24
    )
    order: list[int] = []
    texts = ["", "", ""]
    async for chunk in stream:
        for choice in chunk.choices:
            order.append(choice.index)
            texts[choice.index] += choice.delta.content or ""
    whole = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, n=3, temperature=1.0, seed=5, max_tokens=24
    )
    assert [c.message.content for c in whole.choices] == texts
    assert sum(a != b for a, b in pairwise(order)) > 6


async def test_equal_seeds_give_equal_text_whatever_else_runs(client: AsyncOpenAI) -> None:
    async def story(seed: int) -> str:
        whole = await client.completions.create(
            model=MODEL, prompt="Once upon a time", temperature=1.0, max_tokens=40, seed=seed
        )
        return whole.choices[0].text

    alone = await story(11)
    crowd = await asyncio.gather(*(story(11 + i) for i in range(8)))
    assert crowd[0] == alone
    assert len(set(crowd)) == 8


async def test_a_stop_string_ends_the_answer_before_it(client: AsyncOpenAI) -> None:
    whole, _ = await streamed(client, temperature=0, max_tokens=60)
    stop = whole[10:16]
    text, reasons = await streamed(client, temperature=0, max_tokens=60, stop=[stop])
    assert text == whole[: whole.index(stop)]
    assert reasons[-1] == "stop"


async def test_usage_says_what_of_the_prompt_was_cached_and_a_salt_keeps_it_apart(client: AsyncOpenAI) -> None:
    """A prompt that was read before is not computed again, but for whoever brings another salt."""
    text = "The mill by the river turns, and the river says nothing. " * 8

    async def cached(**extra: object) -> list[tuple[int, int]]:
        options = {"include_usage": True, "continuous_usage_stats": True}
        body = {"stream_options": options, "ignore_eos": True, **extra}
        stream = await client.completions.create(model=MODEL, prompt=text, max_tokens=4, stream=True, extra_body=body)
        told = [chunk.usage async for chunk in stream]
        details = [usage.prompt_tokens_details for usage in told if usage]
        assert len(details) == len(told)
        found = [one.cached_tokens or 0 for one in details if one]
        return [(usage.completion_tokens, count) for usage, count in zip(told, found, strict=True) if usage]

    first, again, apart = await cached(), await cached(), await cached(cache_salt="mine")
    assert first[-1] == (4, 0) and apart[-1] == (4, 0)
    assert again[-1][0] == 4 and again[-1][1] >= 32
    assert [count for count, _ in again] == sorted(count for count, _ in again)
    assert {count for _, count in again} == {again[-1][1]}


async def test_a_stop_string_is_shown_to_who_asks_for_it(client: AsyncOpenAI) -> None:
    whole = await client.completions.create(model=MODEL, prompt="Once upon a time", temperature=0, max_tokens=40)
    text = whole.choices[0].text
    stop = text[10:14]
    shown = await client.completions.create(
        model=MODEL,
        prompt="Once upon a time",
        temperature=0,
        max_tokens=40,
        stop=stop,
        extra_body={"include_stop_str_in_output": True},
    )
    assert shown.choices[0].text == text[: text.index(stop) + len(stop)]


async def test_length_is_the_reason_when_the_tokens_are_used_up(client: AsyncOpenAI) -> None:
    _, reasons = await streamed(client, temperature=0, max_tokens=3)
    assert reasons[-1] == "length"


async def test_completions_take_text_lists_and_token_ids(client: AsyncOpenAI) -> None:
    one = await client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=8, temperature=0)
    two = await client.completions.create(
        model=MODEL, prompt=["Once upon a time", "The engine"], max_tokens=8, temperature=0
    )
    ids = await client.completions.create(model=MODEL, prompt=[[1, 2, 3], [4]], max_tokens=3, temperature=0)
    assert two.choices[0].text == one.choices[0].text and len(two.choices) == 2
    assert [c.index for c in ids.choices] == [0, 1] and ids.usage and ids.usage.prompt_tokens == 4


async def test_errors_reach_the_client_as_openai_errors(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        await client.chat.completions.create(model="no-such-model", messages=QUESTION)
    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=9)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        await client.completions.create(model=MODEL, prompt=[5] * 5000, max_tokens=10)
    assert "5000" in str(long.value) and "2048" in str(long.value)


async def test_logprobs_are_told_streamed_and_not(client: AsyncOpenAI) -> None:
    """Greedy: each token is the likeliest, all bytes are the text, and a stream's add up to the whole's."""
    answer = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=30, logprobs=True, top_logprobs=2
    )
    whole = answer.choices[0]
    assert whole.logprobs and whole.logprobs.content
    scored = whole.logprobs.content
    assert b"".join(bytes(token.bytes or ()) for token in scored).decode() == whole.message.content
    for token in scored:
        assert [best.logprob for best in token.top_logprobs] == sorted(b.logprob for b in token.top_logprobs)[::-1]
        assert len(token.top_logprobs) == 2 and token.top_logprobs[0].token == token.token
        assert token.logprob == token.top_logprobs[0].logprob <= 0
    told: list[str] = []
    stream = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=30, logprobs=True, stream=True
    )
    async for chunk in stream:
        told += [token.token for one in chunk.choices if one.logprobs for token in one.logprobs.content or ()]
    assert told == [token.token for token in scored]
    older = await client.completions.create(model=MODEL, prompt="The gateway", temperature=0, max_tokens=5, logprobs=3)
    lists = older.choices[0].logprobs
    assert lists and lists.tokens and lists.top_logprobs and lists.token_logprobs
    assert "".join(lists.tokens) == older.choices[0].text
    assert lists.token_logprobs == [max(best.values()) for best in lists.top_logprobs]


async def test_a_prompt_comes_back_with_its_own_logprobs(client: AsyncOpenAI) -> None:
    """As evaluations ask for it: echo with logprobs; and vLLM's prompt_logprobs, which say the same."""
    prompt = "The gateway pushes requests to a stream."
    extra = {"prompt_logprobs": 1}
    told = await client.completions.create(model=MODEL, prompt=prompt, echo=True, logprobs=1, max_tokens=1)
    again = await client.completions.create(model=MODEL, prompt=prompt, max_tokens=1, extra_body=extra)
    choice, of_prompt = told.choices[0], cast(list[Any], again.choices[0].to_dict()["prompt_logprobs"])
    assert choice.text.startswith(prompt) and choice.logprobs and choice.logprobs.token_logprobs
    assert "".join(choice.logprobs.tokens or ()) == choice.text
    assert told.usage and len(of_prompt) == told.usage.prompt_tokens
    assert len(choice.logprobs.token_logprobs) == len(of_prompt) + 1
    assert [choice.logprobs.token_logprobs[0], of_prompt[0]] == [None, None]
    for logprob, best in zip(choice.logprobs.token_logprobs[1:], of_prompt[1:], strict=False):
        assert logprob == pytest.approx(next(iter(best.values()))["logprob"], abs=1e-3)
    assert sum(choice.logprobs.token_logprobs[1:]) < -1
    streamed = ""
    async for chunk in await client.completions.create(model=MODEL, prompt=prompt, echo=True, stream=True):
        streamed += chunk.choices[0].text
    assert streamed.startswith(prompt) and len(streamed) > len(prompt)


async def test_a_final_message_is_continued_where_it_ends(client: AsyncOpenAI) -> None:
    """The rest is what the model would have said after those words."""
    whole = await client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=60)
    text = whole.choices[0].message.content or ""
    begun = text[: text.index(" ", 12)]
    rest = await client.chat.completions.create(
        model=MODEL,
        messages=[*QUESTION, {"role": "assistant", "content": begun}],
        temperature=0,
        max_tokens=60,
        extra_body={"continue_final_message": True},
    )
    assert text.startswith(begun + (rest.choices[0].message.content or "")[:20]) and rest.choices[0].message.content


async def test_tools_are_refused_where_the_model_knows_none(client: AsyncOpenAI) -> None:
    """The demo's chat template has no word for them: they would be dropped in silence."""
    tool: ChatCompletionFunctionToolParam = {"type": "function", "function": {"name": "weather"}}
    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(model=MODEL, messages=QUESTION, tools=[tool])
    assert (bad.value.param, bad.value.code) == ("tools", "unsupported_parameter")


async def test_the_model_is_listed(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == [MODEL]


async def test_a_client_that_goes_away_frees_its_request(stack: Stack, client: AsyncOpenAI) -> None:
    """Disconnect means cancel: the engine drops the request long before it would have ended, blocks and all."""
    async with await client.completions.create(
        model=MODEL, prompt="Once", max_tokens=1900, stream=True, extra_body={"ignore_eos": True}
    ) as stream:
        async for _ in stream:
            break
    async with asyncio.timeout(10):
        while not idle(await asyncio.to_thread(stack.metrics, "engine-0")):
            await asyncio.sleep(0.02)
