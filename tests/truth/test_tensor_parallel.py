"""Two ranks, each a process with half of the model: the tokens of one, and an end when one is gone."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from services.engine.config import EngineConfig
from services.engine.worker.opening import open_worker
from services.engine.worker.ranks import RankLost
from services.engine.worker.worker import Worker
from services.gateway.grammar import schema_grammar
from shared.types import FinishReason, SamplingParams
from tests.schemas import schema
from tests.truth.conftest import Reference, answer_length
from tests.truth.driver import BLOCK, ROWS, Way, generate, request

CONFIG = EngineConfig(
    device="cpu",
    dtype="float32",
    max_num_seqs=ROWS,
    block_size=BLOCK,
    kv_blocks=48 * ROWS,
    max_model_len=1024,
    threads=1,
    tensor_parallel=2,
)


@pytest.fixture
def shared(folder: Callable[[str], Path]) -> Iterator[Callable[[str], Worker]]:
    opened: list[Worker] = []

    def made(kind: str) -> Worker:
        opened.append(open_worker(CONFIG, folder(kind)))
        return opened[-1]

    yield made
    for worker in opened:
        worker.close()


@pytest.mark.parametrize("kind", ("qwen3", "llama-biased"))
async def test_two_ranks_continue_as_transformers_continues(
    kind: str, shared: Callable[[str], Worker], reference: Reference
) -> None:
    """Chunked and preempted, plans broadcast once a step; the prompts are every second of the sixty-four."""
    prompts, expected = reference(kind)
    chosen = range(0, len(prompts), 2)
    requests = [
        request(str(k), prompts[k], SamplingParams(max_tokens=answer_length(prompts[k]), temperature=0)) for k in chosen
    ]
    outcome = await generate(shared(kind), requests, Way(budget=256, blocks=100))
    assert outcome.tokens == {f"{k}.0": expected[k] for k in chosen}


async def test_rows_with_a_grammar_draw_on_two_ranks_what_they_draw_on_one(
    shared: Callable[[str], Worker], worker: Callable[[str], Worker]
) -> None:
    """Rank 0 keeps the matchers, and sends the masks behind the step's block."""
    requests = [
        request(
            str(k),
            tuple(range(5, 9 + k)),
            SamplingParams(max_tokens=700, temperature=k % 2, seed=k, stop_ids=(1, 0), grammar=grammar),
        )
        for k in range(8)
        for grammar in [schema_grammar(schema(k), "response_format") if k % 4 else ""]
    ]
    way = Way(budget=256, blocks=400)
    outcome = await generate(shared("qwen3"), requests, way)
    assert outcome.tokens == (await generate(worker("qwen3"), requests, way)).tokens
    assert sum(end.finish is FinishReason.STOP for end in outcome.ends.values()) >= 6


async def test_the_engine_ends_with_any_of_its_ranks(shared: Callable[[str], Worker]) -> None:
    """A rank is killed while a step waits for its share: whoever awaits a step, now or later, is told at once."""
    worker = shared("qwen3")
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
        [process] = worker._runner._others._processes  # type: ignore[attr-defined]
        os.kill(process.pid, signal.SIGKILL)
    assert len(failed) == 2
    assert any("rank 1" in str(error) and "ended with status -9" in str(error) for error in failed)
