"""Under load every request is answered in full, and afterwards everything is as it was: memory, blocks, queues."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

import aiohttp
import orjson
import psutil

from tests.e2e.stack import Stack

GROWTH = 20 << 20  # bytes a process may have grown since warm-up
Job = Callable[[], Coroutine[None, None, int]]
VOCABULARY = 3000  # ids below this are words of the demo model


async def complete(session: aiohttp.ClientSession, prompt: list[int], tokens: int, cut_after: int | None = None) -> int:
    """One streamed completion; how many tokens the server says it made, or 0 where we went away."""
    body = {
        "model": "sluice-demo",
        "prompt": prompt,
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    usage, events = 0, 0
    async with session.post("/v1/completions", json=body) as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            if line.startswith(b"data: {"):
                chunk = orjson.loads(line[6:])
                assert "error" not in chunk, chunk
                events += 1
                usage = (chunk.get("usage") or {}).get("completion_tokens", usage)
                if cut_after is not None and events >= cut_after:
                    return 0
    return usage


async def at_once(limit: int, jobs: Sequence[Job]) -> list[int]:
    """Run the jobs, `limit` of them at a time."""
    waiting, results = iter(jobs), list[int]()

    async def work() -> None:
        for job in waiting:
            results.append(await job())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(limit):
            tasks.create_task(work())
    return results


def memory(stack: Stack) -> dict[str, int]:
    """Private memory of each process, by what it runs."""
    return {f"{p.pid} {' '.join(p.cmdline()[:3])}": p.memory_full_info().uss for p in stack.processes}


async def idle(stack: Stack) -> dict[str, float]:
    """The engine's metrics once nothing is held any more and every block is free: it must come to that."""
    async with asyncio.timeout(30):
        while True:
            metrics = await asyncio.to_thread(stack.metrics, "engine-0")
            used = metrics["sluice_engine_scheduler_num_blocks"] - metrics["sluice_engine_scheduler_free_blocks"]
            if not used and not metrics["sluice_engine_ledger_held"]:
                return metrics
            await asyncio.sleep(0.05)


async def test_load_is_answered_in_full_and_leaves_nothing_behind(stack: Stack) -> None:
    """256 requests of 128 tokens in and out, 32 at a time; then 2,000 short ones, a tenth of them cut off."""
    dice = random.Random(0)

    def prompt(length: int) -> list[int]:
        return [dice.randrange(VOCABULARY) for _ in range(length)]

    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(stack.url, connector=connector) as session:
        made = await at_once(32, [partial(complete, session, prompt(128), 128) for _ in range(256)])
        assert made == [128] * 256
        metrics = await idle(stack)
        assert metrics["sluice_engine_loop_overlapped"] >= 0.95 * metrics["sluice_engine_loop_steps"]

        def short(i: int) -> Job:
            if i % 10 == 0:  # this client will go away after the second event
                return partial(complete, session, prompt(8), 400, cut_after=2)
            return partial(complete, session, prompt(8), 8)

        await at_once(32, [short(i) for i in range(800)])  # each number of rows costs memory when first met
        await idle(stack)
        before = memory(stack)
        made = await at_once(32, [short(i) for i in range(2000)])
        assert sorted(made) == [0] * 200 + [8] * 1800
    metrics = await idle(stack)
    assert metrics["sluice_engine_scheduler_running"] == metrics["sluice_engine_scheduler_waiting"] == 0
    grown = {name: size - before[name] for name, size in memory(stack).items() if size - before[name] > GROWTH}
    assert not grown, {name: f"{size >> 20} MB" for name, size in grown.items()}
    assert all(psutil.pid_exists(p.pid) for p in stack.processes)
