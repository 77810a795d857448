"""Ranks that are processes: two with half of the model each, or one beside the engine. The tokens are those of one rank
in the engine's own process, and the engine ends when one is gone."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.engine.worker.apart import RemoteRunner, open_apart
from services.engine.worker.opening import open_worker
from services.engine.worker.ranks import BroadcastRunner, RankLost, RankProcesses
from services.engine.worker.worker import Worker
from services.gateway.grammar import schema_grammar
from shared.errors import ConfigError
from shared.types import FinishReason, SamplingParams
from tests.schemas import schema
from tests.truth.conftest import CONFIG, Reference, answer_length
from tests.truth.driver import Way, generate, request

WAYS = ("2 here", "1 apart", "2 apart")  # ranks, and whether the engine's own process is the first


@pytest.fixture
def shared(folder: Callable[[str], Path]) -> Iterator[Callable[[str, str], Worker]]:
    opened: list[Worker] = []

    def made(kind: str, way: str) -> Worker:
        ranks, where = way.split()
        config = replace(CONFIG, tensor_parallel=int(ranks))
        opening = open_apart if where == "apart" else open_worker
        opened.append(opening(config, folder(kind), lambda message, share: None))
        return opened[-1]

    yield made
    for worker in opened:
        worker.close()


@pytest.mark.parametrize(("kind", "way"), (*(("qwen3", way) for way in WAYS), ("llama-biased", "2 here")))
async def test_ranks_continue_as_transformers_continues(
    kind: str, way: str, shared: Callable[[str, str], Worker], reference: Reference
) -> None:
    """Chunked and preempted, plans broadcast once a step; the prompts are every second of the sixty-four."""
    prompts, expected = reference(kind)
    chosen = range(0, len(prompts), 2)
    requests = [
        request(str(k), prompts[k], SamplingParams(max_tokens=answer_length(prompts[k]), temperature=0)) for k in chosen
    ]
    outcome = await generate(shared(kind, way), requests, Way(budget=256, blocks=100))
    assert outcome.tokens == {f"{k}.0": expected[k] for k in chosen}


@pytest.mark.parametrize("way", WAYS)
async def test_rows_with_a_grammar_draw_on_ranks_what_they_draw_here(
    way: str, shared: Callable[[str, str], Worker], worker: Callable[[str], Worker]
) -> None:
    """The engine keeps the matchers, and sends the masks behind the step's block."""
    requests = [
        request(
            str(k),
            tuple(range(5, 9 + k)),
            SamplingParams(max_tokens=700, temperature=k % 2, seed=k, stop_ids=(1, 0), grammar=grammar),
        )
        for k in range(8)
        for grammar in [schema_grammar(schema(k), "response_format") if k % 4 else ""]
    ]
    how = Way(budget=256, blocks=400)
    outcome = await generate(shared("qwen3", way), requests, how)
    assert outcome.tokens == (await generate(worker("qwen3"), requests, how)).tokens
    assert sum(end.finish is FinishReason.STOP for end in outcome.ends.values()) >= 6


@pytest.mark.parametrize("way", WAYS)
async def test_the_engine_ends_with_any_of_its_ranks(way: str, shared: Callable[[str, str], Worker]) -> None:
    """A rank is killed while a step waits for its share: whoever awaits a step, now or later, is told at once."""
    worker = shared("qwen3", way)
    endless = [request("a", tuple(range(2, 500)), SamplingParams(max_tokens=500, temperature=0))]
    failed: list[BaseException] = []

    async def noting(ends: Awaitable[object]) -> None:
        try:
            await ends
        except (RankLost, RuntimeError) as error:
            failed.append(error)

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(noting(worker.failure()))
        tasks.create_task(noting(generate(worker, endless, Way())))
        while worker.statistics()["steps_done"] < 3:
            await asyncio.sleep(0.001)
        process = _ranks(worker)._processes[-1]
        os.kill(process.pid, signal.SIGKILL)
    assert len(failed) == 2
    assert any(f"(process {process.pid}) ended with status -9" in str(error) for error in failed)


def test_what_a_rank_cannot_open_is_told_in_one_line(folder: Callable[[str], Path]) -> None:
    config = replace(CONFIG, kv_blocks=1 << 40)
    with pytest.raises(ConfigError, match=r"out of memory for a KV cache of .*; lower --kv-blocks"):
        open_apart(config, folder("qwen3"), lambda message, share: None)


def _ranks(worker: Worker) -> RankProcesses:
    runner = worker._runner
    assert isinstance(runner, (BroadcastRunner, RemoteRunner))
    return runner._others if isinstance(runner, BroadcastRunner) else runner._ranks
