"""Engines on one bus: what one of them pays for a step, and what Redis and the detokenizer pay for it.

A real Redis and a real detokenizer, each a process of its own. All engines live in this process, on devices that are
simulated; each has a connection of its own and as many requests as the others.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.growth.series import Sweep
from bench.service_set import SERVED, ServiceSet, service_set
from bench.whole_set import WholeSet
from services.engine.config import EngineConfig
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.inbox import Inbox
from services.engine.life import Life
from services.engine.loop import EngineLoop
from services.engine.worker.sim import SimWorker, open_sim
from shared import redis_bus
from shared.bus import Bus
from shared.messages import EngineStatus, GenerateRequest, RenderSpec
from shared.redis_link import RedisLink, open_link
from shared.types import SamplingParams, request_id

MODEL = Path(__file__).parents[2] / "models" / "demo"
ROWS, PROMPT = 8, 16
STEP_S = 0.01  # of the simulated device
SETTLING = 10  # steps at both ends that are not looked at
LEASE_MS, PAUSE_S, PATIENCE_S = 600_000, 0.005, 60.0
LINES = ("engine", "Redis", "detokenizer")


class Spent(NamedTuple):
    """CPU seconds so far, and steps of all engines."""

    steps: float
    engines: float
    redis: float
    detokenizer: float


@dataclass(frozen=True, slots=True)
class Member:
    worker: SimWorker
    life: asyncio.Task[None]

    @property
    def steps(self) -> float:
        return self.worker.statistics()["steps_done"]


def engines(sizes: Sequence[int], steps: int) -> Sweep:
    return asyncio.run(_engines(sizes, steps))


async def _engines(sizes: Sequence[int], steps: int) -> Sweep:
    lines: dict[str, list[float]] = {line: [] for line in LINES}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-growth-"))
        services = await stack.enter_async_context(service_set(MODEL, Path(folder)))
        redis = await stack.enter_async_context(open_link(services.redis_url))
        for size in sizes:
            print(f"  {size} engines", file=sys.stderr, flush=True)
            async with asyncio.timeout(PATIENCE_S):
                for line, cost in zip(LINES, await _fleet(services, redis, size, steps), strict=True):
                    lines[line].append(cost)
    about = f"{ROWS} requests and {1 / STEP_S:.0f} steps a second each"
    return Sweep("engines on one bus", about, "flat", sizes, lines)


async def _fleet(services: ServiceSet, redis: RedisLink, size: int, steps: int) -> tuple[float, ...]:
    """Milliseconds of a step of one engine: its own, Redis's, the detokenizer's."""
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(_member(services, f"fleet{size}x{n}")) for n in range(size)]
        for number in range(size * ROWS):
            request = _request(f"fleet{size}-{number}", steps, services.gateway)
            await services.bus.submit(request.parent_id, [request])
        await _until(members, SETTLING)
        before = await _spent(members, redis)
        await _until(members, steps - SETTLING)
        after = await _spent(members, redis)
        await services.settled()
    spent = Spent(*(b - a for a, b in zip(before, after, strict=True)))
    return tuple(1000 * seconds / spent.steps for seconds in spent[1:])


@asynccontextmanager
async def _member(services: ServiceSet, name: str) -> AsyncIterator[Member]:
    """An engine as `services.engine` puts it together, without its HTTP server."""
    config = EngineConfig(
        model=str(MODEL),
        device="sim",
        max_num_seqs=ROWS,
        sim_tokens_per_second=ROWS / STEP_S,
    )
    worker = open_sim(config, MODEL)
    async with redis_bus.connect(services.redis_url, SERVED) as bus:
        executor = await bus.next_boot(name)
        scheduler = Scheduler(
            SchedulerConfig(
                num_blocks=worker.num_blocks,
                block_size=config.block_size,
                max_num_seqs=ROWS,
                max_batched_tokens=worker.max_batched_tokens,
                max_model_len=worker.max_model_len,
            )
        )
        life = Life(bus, executor, scheduler, worker, Inbox, EngineLoop, max_waiting=0, overlap=True)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(life.run(1, lambda: _announce(bus, str(executor))), name=name)
            yield Member(worker, task)
            task.cancel()
        await bus.leave(executor, 1)


async def _announce(bus: Bus, executor: str) -> None:
    await bus.announce_engine(EngineStatus(name=executor, state="ready"), LEASE_MS)


async def _until(members: Sequence[Member], steps: int) -> None:
    """Every engine has done so many, or is far beyond its first."""
    while any(member.steps < steps for member in members):  # noqa: ASYNC110 - devices need not tell
        await asyncio.sleep(PAUSE_S)


async def _spent(members: Sequence[Member], redis: RedisLink) -> Spent:
    cpu = await redis.ask("INFO", "cpu")
    services = WholeSet("", psutil.Process()).cpu_seconds()
    return Spent(
        sum(member.steps for member in members),
        time.thread_time(),
        float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
        services["detokenizer"],
    )


def _request(parent: str, tokens: int, gateway: str) -> GenerateRequest:
    return GenerateRequest(
        id=request_id(parent, 0),
        parent_id=parent,
        index=0,
        prompt=tuple(range(3, 3 + PROMPT)),
        sampling=SamplingParams(max_tokens=tokens),
        render=RenderSpec(kind="chat", model=SERVED, created=0, stream=True, choices=1, prompt_tokens=PROMPT),
        shard=0,
        gateway=gateway,
    )
