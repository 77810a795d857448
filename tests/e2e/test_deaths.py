"""Processes die in the middle of answers, and no client notices more than a pause."""

import asyncio
import signal
from collections.abc import Iterator

import psutil
import pytest
from openai import AsyncOpenAI

from tests.e2e.stack import Stack

CLIENTS, TOKENS = 8, 400
DISTURBANCES = [("engine", signal.SIGKILL), ("engine", signal.SIGTERM), ("detokenizer", signal.SIGKILL)]


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A set of its own: the others' must not be disturbed."""
    with Stack(tmp_path_factory.mktemp("run")) as running:
        yield running


async def told(client: AsyncOpenAI, seed: int, begun: asyncio.Semaphore) -> str:
    stream = await client.completions.create(
        model="sluice-demo",
        prompt=f"Once upon a time, {seed} ",
        max_tokens=TOKENS,
        temperature=1.0,
        seed=seed,
        stream=True,
        logprobs=2 if seed % 2 else None,
        extra_body={"ignore_eos": True},
    )
    text, chunks, scored = "", 0, 0
    async for chunk in stream:
        text += chunk.choices[0].text
        if chunk.choices[0].logprobs:
            scored += len(chunk.choices[0].logprobs.token_logprobs or ())
        chunks += 1
        if chunks == 20:
            begun.release()
    assert scored == (TOKENS if seed % 2 else 0)
    return text


async def all_told(client: AsyncOpenAI, disturb: psutil.Process | None, how: signal.Signals) -> list[str]:
    begun = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as tasks:
        telling = [tasks.create_task(told(client, seed, begun)) for seed in range(CLIENTS)]
        if disturb is not None:
            for _ in range(CLIENTS):
                await begun.acquire()
            assert not any(task.done() for task in telling)
            disturb.send_signal(how)
    return [task.result() for task in telling]


@pytest.mark.parametrize(("service", "how"), DISTURBANCES, ids=lambda value: getattr(value, "name", value))
async def test_a_death_in_the_middle_changes_no_text(own_stack: Stack, service: str, how: signal.Signals) -> None:
    """The engine is killed or told to stop, the detokenizer is killed: every client reads the undisturbed text."""
    async with AsyncOpenAI(base_url=f"{own_stack.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        calm = await all_told(client, None, how)
        again = await all_told(client, own_stack.process(service), how)
    assert again == calm
