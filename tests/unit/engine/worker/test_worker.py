"""The worker's one verb: order, errors, and what it says of itself."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
import torch

from services.engine.config import EngineConfig
from services.engine.core.step import RowAdd, RowWork, StepPlan
from services.engine.worker.completion import Completion, Lane
from services.engine.worker.opening import open_worker
from services.engine.worker.worker import Worker
from shared.errors import ConfigError
from shared.types import SamplingParams

GREEDY = SamplingParams(max_tokens=9, temperature=0)
FIRST = StepPlan(0, (), (RowAdd(0, (5, 6, 7), 3, (0,), GREEDY),), (), (RowWork(0, 0, 3, True),))


def decode(step: int) -> StepPlan:
    return StepPlan(step, (), (), (), (RowWork(0, 2 + step, 1, True),))


def config(**changes: object) -> EngineConfig:
    return EngineConfig(**({"device": "cpu", "max_num_seqs": 4, "kv_blocks": 64, "threads": 1} | changes))  # type: ignore[arg-type]


@pytest.fixture
def worker(qwen3: Path) -> Iterator[Worker]:
    worker = open_worker(config(), qwen3)
    yield worker
    worker.close()


async def test_steps_submitted_together_end_in_order(worker: Worker) -> None:
    """None waits for another's result to be read, and each continues where the one before it ended."""
    one_by_one = [(await worker.submit(plan)).tokens for plan in (FIRST, decode(1), decode(2), decode(3))]
    ended: list[int] = []

    async def wait(plan: StepPlan) -> tuple[int, ...]:
        result = await worker.submit(plan)
        ended.append(result.step)
        return result.tokens

    together = await asyncio.gather(*(wait(plan) for plan in (FIRST, decode(1), decode(2), decode(3))))
    assert together == one_by_one
    assert ended == [0, 1, 2, 3]


async def test_submit_returns_before_the_step_has_run(worker: Worker) -> None:
    """The loop goes on while a step computes: here the step is held up until the loop lets it go."""
    gate = Event()
    worker._steps.put(lambda: void(gate.wait(30)))
    future = asyncio.ensure_future(worker.submit(FIRST))  # noqa: TID251  # it is a future already
    await asyncio.sleep(0)
    assert not future.done()
    gate.set()
    assert len((await future).tokens) == 1


def void(_: object) -> None:
    """Jobs return nothing."""


async def test_an_error_in_a_step_reaches_whoever_awaits_it_and_all_after_it(worker: Worker) -> None:
    """A step that fails leaves rows and cache in an unknown state, so nothing runs after it."""
    broken = StepPlan(0, (), (RowAdd(0, (10**6,), 1, (0,), GREEDY),), (), (RowWork(0, 0, 1, True),))
    first, second = worker.submit(broken), worker.submit(FIRST)
    with pytest.raises(IndexError):
        await first
    with pytest.raises(IndexError):
        await second


async def test_a_cancelled_wait_does_not_disturb_the_step(worker: Worker) -> None:
    """The step runs to its end, and the next one builds on it."""
    expected = [(await worker.submit(plan)).tokens for plan in (FIRST, decode(1))][1]
    asyncio.ensure_future(worker.submit(FIRST)).cancel()  # noqa: TID251
    assert (await worker.submit(decode(1))).tokens == expected


async def test_the_worker_counts_what_it_did(worker: Worker) -> None:
    """Steps, tokens, bytes and time; the steps that warm it up are nobody's business."""
    await worker.submit(FIRST)
    await worker.submit(decode(1))
    statistics = worker.statistics()
    assert (statistics["steps"], statistics["steps_done"], statistics["tokens"]) == (2, 2, 4)
    assert 0 < statistics["bytes_last_step"] < statistics["bytes_sent"] - statistics["bytes_last_step"]
    assert statistics["busy_seconds"] > 0 and statistics["idle_seconds"] >= 0


async def test_a_completion_outlives_its_loop() -> None:
    """A step may end after the loop that awaited it is gone; nobody is told, and nothing is raised."""

    async def begin() -> Completion[int]:
        return Completion[int]()

    completion = await asyncio.to_thread(lambda: asyncio.run(begin()))
    completion.succeed(3)
    assert not completion.future.done()


def test_a_lane_runs_its_jobs_in_order_and_hands_errors_to_the_caller() -> None:
    """`close` comes after everything that was put before it."""
    seen: list[int] = []
    lane = Lane("test")
    for number in range(50):
        lane.put(lambda number=number: seen.append(number))  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        lane.call(lambda: 1 // 0)
    lane.put(lambda: seen.append(50))
    lane.close()
    assert seen == list(range(51))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_model_len": 2000}, "--max-model-len 2000 is more than the checkpoint allows: 1024"),
        ({"max_model_len": 1024, "kv_blocks": 10}, "--max-model-len 1024 needs 64 blocks"),
        ({"device": "cuda"}, "--device cuda"),
    ],
)
def test_a_start_that_cannot_succeed_says_which_flag_to_change(
    changes: dict[str, object], words: str, qwen3: Path
) -> None:
    """One line for the operator."""
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has what the test needs to be missing")
    with pytest.raises(ConfigError, match=words) as caught:
        open_worker(config(**changes), qwen3)
    assert "\n" not in str(caught.value)


def test_without_a_wish_the_context_fits_the_cache(qwen3: Path) -> None:
    """Few blocks bound the length of a sequence; and loading tells how far it is."""
    heard: list[tuple[str, float]] = []
    worker = open_worker(config(kv_blocks=10), qwen3, lambda message, share: heard.append((message, share)))
    worker.close()
    assert (worker.num_blocks, worker.max_model_len, worker.vocab_size) == (10, 160, 1024)
    assert heard[0] == ("loading model.safetensors", 0.0)
    assert heard[-1] == ("ready", 1.0)


async def test_bfloat16_draws_what_is_nearly_the_best(qwen3: Path) -> None:
    """The tokens differ from float32's at most where its own best two are close: both begin alike."""
    texts = []
    for dtype in ("float32", "bfloat16"):
        worker = open_worker(config(dtype=dtype), qwen3)
        adds = tuple(RowAdd(row, (row + 1,) * 9, 9, (row,), GREEDY) for row in range(4))
        plan = StepPlan(0, (), adds, (), tuple(RowWork(row, 0, 9, True) for row in range(4)))
        texts.append((await worker.submit(plan)).tokens)
        worker.close()
    assert sum(a == b for a, b in zip(*texts, strict=True)) >= 3


def test_the_worker_knows_no_transformers() -> None:
    """It reads configurations and weights itself."""
    code = (
        "import services.engine.worker.opening, sys; print('transformers' in sys.modules, 'tokenizers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False", "False"]
