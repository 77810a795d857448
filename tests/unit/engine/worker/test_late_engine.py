"""The overlapped engine on a device that is as late as it may be: the same tokens as on one that is never late."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from services.engine.config import EngineConfig
from services.engine.core.events import Submit
from services.engine.worker.opening import open_worker
from services.engine.worker.worker import Worker
from shared.types import SamplingParams
from tests.late_device import LateDevice
from tests.truth.driver import Way, generate, request

WAYS = (Way(budget=64, blocks=24), Way(budget=256, overlap=False), Way(budget=64, blocks=20, stateless=True))
CONFIG = EngineConfig(device="cpu", dtype="float32", max_num_seqs=64, kv_blocks=256, max_model_len=256, threads=1)


def requests() -> list[Submit]:
    """Greedy and seeded, with penalties, filters and stop ids forbidden for a while; prompts of 1 to 60 tokens."""
    rng = Random(7)
    kinds = (
        SamplingParams(max_tokens=20, temperature=0),
        SamplingParams(max_tokens=24, temperature=0.9, top_p=0.8, seed=5),
        SamplingParams(max_tokens=16, temperature=1.1, top_k=9, min_p=0.02, seed=2**63, repetition_penalty=1.3),
        SamplingParams(
            max_tokens=12, temperature=0, presence_penalty=0.7, min_tokens=6, stop_ids=tuple(range(0, 300, 3))
        ),
    )
    prompts = [tuple(rng.randrange(2, 1000) for _ in range(rng.randint(1, 60))) for _ in range(14)]
    return [request(str(k), prompt, kinds[k % len(kinds)]) for k, prompt in enumerate(prompts)]


@pytest.fixture(scope="module")
def never_late(qwen3: Path) -> Iterator[Worker]:
    worker = open_worker(CONFIG, qwen3)
    yield worker
    worker.close()


@pytest.mark.parametrize("temper", ("", "main", "copies"))
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_late_device_changes_no_token(never_late: Worker, qwen3: Path, way: Way, temper: str) -> None:
    """Preempted, chunked, stateless: a step never reads what the host has changed since it was launched."""
    expected = await generate(never_late, requests(), way)
    worker = open_worker(CONFIG, qwen3, device=LateDevice(eager=temper))
    try:
        assert (await generate(worker, requests(), way)).tokens == expected.tokens
    finally:
        worker.close()
