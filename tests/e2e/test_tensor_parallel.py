"""An engine of two ranks behind the whole set: a rank dies, the engine ends with it, and no client loses a token."""

import signal
from pathlib import Path

from openai import AsyncOpenAI

from tests.e2e.stack import Stack
from tests.e2e.test_deaths import all_told


async def test_a_dead_rank_ends_its_engine_and_its_requests_go_on(tmp_path: Path) -> None:
    """The supervisor starts the engine again, both ranks of it, and the bus hands it what the old one ran."""
    with Stack(tmp_path, "--engine-args=--tensor-parallel 2 --threads 1") as stack:
        async with AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
            calm = await all_told(client, None, signal.SIGKILL)
            engine, rank = stack.process("engine"), stack.process("engine.worker.rank")
            again = await all_told(client, rank, signal.SIGKILL)
        assert again == calm
        assert not engine.is_running()
        assert stack.process("engine.worker.rank").pid != rank.pid
        assert any(f"(process {rank.pid}) ended with status -9" in line for line in stack.logs())
