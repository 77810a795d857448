"""The whole step of a card, on a machine without one: the worker's fused program, its kernels in Triton's interpreter,
on a device that is as late as it may be. The tokens are those of the CPU's program."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from services.engine.config import EngineConfig
from services.engine.core.events import Submit
from services.engine.worker.device import Memory
from services.engine.worker.opening import open_worker
from services.engine.worker.worker import Worker
from shared.types import FinishReason, SamplingParams
from tests.checkpoints import build
from tests.late_device import LateDevice
from tests.truth.driver import Way, generate, request

# What is asked of each kind: lengths of prompts, and tokens. Mistral sees 64 positions, some layers of Qwen2 96.
KINDS = {"qwen3": ((1, 9, 20, 45), 5), "llama-biased": ((5, 12), 3), "mistral": ((70, 3), 3), "qwen2": ((100, 3), 3)}
CONFIG = EngineConfig(
    device="cpu", dtype="float32", max_num_seqs=6, max_batched_tokens=64, kv_blocks=40, max_model_len=160, threads=1
)
ROOM = Memory(total=1 << 40, most_taken=1 << 30)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return cache(lambda kind: build(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture
def opened(folder: Callable[[str], Path]) -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def make(kind: str, device: LateDevice | None = None, config: EngineConfig = CONFIG) -> Worker:
        workers.append(open_worker(config, folder(kind), device=device))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


def greedy(lengths: tuple[int, ...], max_tokens: int) -> list[Submit]:
    rng = Random(3)
    prompts = [tuple(rng.randrange(2, 1000) for _ in range(length)) for length in lengths]
    return [request(str(k), p, SamplingParams(max_tokens=max_tokens, temperature=0)) for k, p in enumerate(prompts)]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_fused_step_draws_what_the_plain_step_draws(kind: str, opened: Callable[..., Worker]) -> None:
    """Each architecture, its windows and biases; prompts in chunks, rows that decode beside them, captured steps."""
    device, way = LateDevice(fused=True), Way(budget=64)
    requests = greedy(*KINDS[kind])
    fused, plain = opened(kind, device), opened(kind)
    device.forbid_waiting()
    assert (await generate(fused, requests, way)).tokens == (await generate(plain, requests, way)).tokens
    assert device.captured == 4  # 1, 2, 4 and 6 rows
    warm_up = 2  # of its four steps, those that decode
    assert warm_up < fused.statistics()["graph_steps"] < fused.statistics()["steps"] + warm_up  # prompts are not


async def test_everything_a_client_may_ask_of_sampling_is_drawn_alike(opened: Callable[..., Worker]) -> None:
    """Penalties, filters, seeds and all that steers, in captured steps too, with rows that come and go."""
    kinds = (
        SamplingParams(max_tokens=6, temperature=0.9, top_p=0.8, seed=5),
        SamplingParams(max_tokens=5, temperature=1.1, top_k=9, min_p=0.02, seed=2**63, repetition_penalty=1.3),
        SamplingParams(max_tokens=7, temperature=0, presence_penalty=0.7, frequency_penalty=0.5),
        SamplingParams(max_tokens=6, temperature=0, min_tokens=4, stop_ids=tuple(range(0, 1024, 4))),
        SamplingParams(max_tokens=6, allowed_ids=tuple(range(5, 25)), bias_ids=(6, 7), biases=(2.0, -3.0), seed=7),
        SamplingParams(max_tokens=8, allowed_ids=(5, 6), banned=((5, 5), (6, 6, 6)), temperature=0),
    )
    rng = Random(11)
    prompts = [tuple(rng.randrange(2, 1000) for _ in range(3 + k)) for k in range(len(kinds))]
    requests = [request(str(k), prompt, kinds[k]) for k, prompt in enumerate(prompts)]
    device, way = LateDevice(fused=True, eager="copies"), Way(budget=64)
    fused, plain = opened("qwen3", device), opened("qwen3")
    device.forbid_waiting()
    expected = await generate(plain, requests, way)
    assert (await generate(fused, requests, way)).tokens == expected.tokens
    assert not any(id % 4 == 0 for id in expected.tokens["3.0"][:4])
    assert set(expected.tokens["4.0"]) <= set(range(5, 25))
    assert set(zip(expected.tokens["5.0"], expected.tokens["5.0"][1:], strict=False)) <= {(5, 6), (6, 5), (6, 6)}
    hasty = replace(requests[3], sampling=replace(kinds[3], min_tokens=0))
    assert len((await generate(plain, [hasty], way)).tokens["3.0"]) < 4  # so something was forbidden


async def test_rows_with_a_grammar_draw_alike_and_captured_steps_stay_captured(opened: Callable[..., Worker]) -> None:
    """The step is replayed whole and such rows draw again; with penalties, filters and neighbours without one."""
    grammar = json.dumps({"grammars": [{"lark_grammar": "start: /[a-z]{2,3}(![a-z])?/"}]})
    usual: dict[str, Any] = {"max_tokens": 12, "grammar": grammar, "stop_ids": (1, 0)}
    kinds = (
        SamplingParams(**usual, temperature=0),
        SamplingParams(max_tokens=4, temperature=0.9, seed=5),
        SamplingParams(**usual, temperature=0.9, top_k=9, seed=3, repetition_penalty=1.3),
    )
    requests = [request(str(k), tuple(range(5 + k, 9 + 2 * k)), kind) for k, kind in enumerate(kinds)]
    device, way = LateDevice(fused=True), Way(budget=64)
    fused, plain = opened("qwen3", device), opened("qwen3")
    device.forbid_waiting()
    expected = await generate(plain, requests, way)
    outcome = await generate(fused, requests, way)
    assert outcome.tokens == expected.tokens
    assert [end.finish for id, end in sorted(outcome.ends.items()) if id != "1.0"] == [FinishReason.STOP] * 2
    assert fused.statistics()["graph_steps"] >= fused.statistics()["steps"] - 2  # all but the prompts


async def test_the_cache_takes_what_the_largest_step_leaves(opened: Callable[..., Worker]) -> None:
    """Without --kv-blocks the largest steps are rehearsed, and the card's memory at the worst moment is what counts."""
    block = 3 * 16 * 2 * 2 * 32 * 4  # layers, tokens, keys and values, heads, dimensions, bytes
    card = Memory(total=100 * block, most_taken=60 * block)
    config = replace(CONFIG, kv_blocks=0, max_num_seqs=2, graphs=False, gpu_memory_utilization=0.8)
    worker = opened("qwen3", LateDevice(fused=True, memory=card), config)
    assert worker.num_blocks == 20
    outcome = await generate(worker, greedy((4, 5), 2), Way(budget=64))
    assert [len(ids) for ids in outcome.tokens.values()] == [2, 2]


async def test_a_value_read_back_in_a_step_is_an_error_under_the_debug_switch(opened: Callable[..., Worker]) -> None:
    """`--sync-check`: the CPU's sampler looks at a flag of its top-p rows, and a card would be waited for."""
    worker = opened("qwen3", LateDevice(fused=False), replace(CONFIG, sync_check=True))
    nucleus = SamplingParams(max_tokens=2, temperature=1.0, top_p=0.5)
    with pytest.raises(RuntimeError, match="makes the host wait"):
        await generate(worker, [request("a", (5, 6, 7), nucleus)], Way(budget=64))


def test_every_step_is_captured_at_a_size_that_wastes_little() -> None:
    """Largest first in the pool; the largest is the number of rows itself; padding is at most a third beyond 8 rows."""
    from services.engine.worker.fused import capture_sizes

    for most in (1, 3, 8, 100, 256, 1000):
        sizes = capture_sizes(most)
        assert sizes[-1] == most and sizes == sorted(set(sizes))
        for rows in range(1, most + 1):
            padded = next(size for size in sizes if size >= rows)
            assert padded - rows <= max(3, 7 if rows <= 64 else rows // 4)


async def test_logprobs_of_the_fused_step_are_those_of_the_plain_one(opened: Callable[..., Worker]) -> None:
    """Beside rows that want none, in mixed and in decode steps, and in rows that wait for a mask."""
    rng = Random(23)
    kinds = (
        SamplingParams(max_tokens=5, temperature=0, logprobs=3, prompt_logprobs=2),
        SamplingParams(max_tokens=6, temperature=0),
        SamplingParams(max_tokens=6, temperature=1.0, seed=3, presence_penalty=1.5, logprobs=0),
        SamplingParams(max_tokens=4, temperature=1.0, seed=4, grammar="start: /[a-f]+/", logprobs=20),
    )
    lengths = (70, 4, 5, 6)  # the first takes two steps
    prompts = [tuple(rng.randrange(2, 1000) for _ in range(length)) for length in lengths]
    requests = [request(str(k), prompts[k], kind) for k, kind in enumerate(kinds)]
    device = LateDevice(fused=True)
    fused, plain = opened("qwen3", device), opened("qwen3")
    device.forbid_waiting()
    got, expected = [await generate(worker, requests, Way(budget=64)) for worker in (fused, plain)]
    assert got.tokens == expected.tokens
    assert got.scores.keys() == expected.scores.keys() == {"0.0", "2.0", "3.0"}
    assert got.prompts.keys() == expected.prompts.keys() == {"0.0"}
    for id, scores in (*expected.scores.items(), ("0.0", expected.prompts["0.0"])):
        found = got.prompts[id] if scores is expected.prompts.get(id) else got.scores[id]
        for one, other in zip(found, scores, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
            assert one.rank == other.rank
