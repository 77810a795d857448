"""Greedy output equals transformers' token by token, however the engine goes about it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from services.engine.worker.layers import cpu_products
from services.engine.worker.opening import open_worker
from services.engine.worker.worker import Worker
from shared.types import SamplingParams
from tests.truth.conftest import CONFIG, Reference, answer_length
from tests.truth.driver import ROWS, Outcome, Way, generate, request

AMPLE = Way(budget=4096)  # whole prompts, and memory for all of them
TIGHT = Way(budget=80, blocks=80)  # chunks of a few tokens, and memory for a few rows
EVERY_WAY = [
    replace(memory, overlap=overlap, stateless=stateless)
    for memory, overlap, stateless in product((AMPLE, TIGHT), (True, False), (False, True))
]
SOME_WAYS = [TIGHT, Way(budget=300, overlap=False, stateless=True)]
OTHERS = ("llama", "llama-biased", "mistral", "qwen2", "sharded", "bfloat16", "demo")


def greedy(max_tokens: int) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, temperature=0)


async def in_flight_together(kind: str, way: Way, worker: Callable[[str], Worker], reference: Reference) -> Outcome:
    prompts, expected = reference(kind)
    requests = [request(str(k), p, greedy(answer_length(p))) for k, p in enumerate(prompts)]
    outcome = await generate(worker(kind), requests, way)
    assert outcome.tokens == {f"{k}.0": ids for k, ids in enumerate(expected)}
    return outcome


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
async def test_sixty_four_prompts_of_all_lengths_continue_as_transformers_continues_them(
    way: Way, worker: Callable[[str], Worker], reference: Reference
) -> None:
    """Prompts of 1 to 700 tokens at once; the tight ways chunk, preempt and reuse, and change no token."""
    outcome = await in_flight_together("qwen3", way, worker, reference)
    statistics = outcome.statistics
    assert statistics["finished"] == ROWS
    if way.blocks:
        assert statistics["preemptions"] > 0
        assert statistics["prefix_hits"] > 0
        assert statistics["steps"] > sum(map(len, reference("qwen3")[0])) / way.budget
    else:
        assert statistics["preemptions"] == 0
        assert outcome.most_running == ROWS


@pytest.mark.parametrize("way", SOME_WAYS, ids=str)
@pytest.mark.parametrize("kind", OTHERS)
async def test_every_architecture_continues_as_transformers_continues_it(
    kind: str, way: Way, worker: Callable[[str], Worker], reference: Reference
) -> None:
    """Llama with both of its rope scalings and with biases, Mistral's window, Qwen2's bias and its windows in some
    layers, shards, weights kept as bfloat16, and the model that is served by default."""
    outcome = await in_flight_together(kind, way, worker, reference)
    assert outcome.statistics["prefix_hits"] > 0
    assert (outcome.statistics["preemptions"] > 0) == bool(way.blocks)


async def test_matrices_that_lie_there_twice_continue_it_too(
    folder: Callable[[str], Path], reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of a few rows by loops and others by oneDNN, over the same cache, as on a processor with tiles."""
    monkeypatch.setattr(cpu_products, "best_on_cpu", lambda dtype: cpu_products.Packed)
    monkeypatch.setattr(cpu_products, "_has_vectors", lambda: True)
    worker = open_worker(CONFIG, folder("qwen3"))
    try:
        outcome = await in_flight_together("qwen3", TIGHT, lambda kind: worker, reference)
    finally:
        worker.close()
    assert outcome.most_running > cpu_products.FEW


async def test_what_a_stateful_step_sends_does_not_grow_with_the_context(
    worker: Callable[[str], Worker], reference: Reference
) -> None:
    """In steady decode a step sends a few bytes a row, whatever stands in the row; stateless sends it all."""
    prompts, _ = reference("qwen3")
    steady = {}
    for stateless, length in product((False, True), (40, 600)):
        long = [request(str(k), (prompts[k] * length)[:length], greedy(12)) for k in range(16)]
        outcome = await generate(worker("qwen3"), long, Way(budget=16384, stateless=stateless))
        steady[stateless, length] = min(outcome.bytes_per_step)
    assert steady[False, 40] == steady[False, 600] < 8192 * 16 / 256
    assert steady[True, 600] > steady[True, 40] > steady[False, 40]
    assert steady[True, 600] > 16 * 600 * 4
