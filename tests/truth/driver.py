"""The engine without its shell: the real scheduler and the real worker, and a loop around them."""

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass

from services.engine.core.events import Delta, Submit
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.core.step import StepResult
from services.engine.worker.worker import Worker
from shared.types import SamplingParams, Score, TokenIds

ROWS = 64
BLOCK = 16


@dataclass(frozen=True, slots=True)
class Way:
    """How the engine goes about it; whatever it is, the tokens must be the same."""

    budget: int = 1024  # tokens in one step
    blocks: int = 0  # of the KV cache; 0 is all that the worker has
    overlap: bool = True  # a second step is submitted before the first is awaited
    stateless: bool = False

    def __str__(self) -> str:
        state, scheduling = "stateless" if self.stateless else "stateful", "async" if self.overlap else "sync"
        return f"{scheduling}-{state}-{self.budget}-{self.blocks or 'ample'}"


@dataclass(frozen=True, slots=True)
class Outcome:
    tokens: dict[str, TokenIds]  # of each request, as it was told
    statistics: dict[str, float | int]  # of the scheduler
    most_running: int
    bytes_per_step: list[int]
    ends: dict[str, Delta]  # of each request, its last word
    scores: dict[str, tuple[Score, ...]]  # of each request that wants them
    prompts: dict[str, tuple[Score, ...]]  # the same of their prompts


async def generate(worker: Worker, requests: Iterable[Submit], way: Way) -> Outcome:
    """Submit all requests at once and run until none is left."""
    config = SchedulerConfig(
        num_blocks=way.blocks or worker.num_blocks,
        block_size=BLOCK,
        max_num_seqs=ROWS,
        max_batched_tokens=way.budget,
        max_model_len=worker.max_model_len,
        stateless=way.stateless,
    )
    scheduler = Scheduler(config)
    told: dict[str, list[int]] = {}
    ends: dict[str, Delta] = {}
    scores: dict[str, tuple[Score, ...]] = {}
    prompts: dict[str, tuple[Score, ...]] = {}

    def tell(deltas: list[Delta]) -> None:
        for delta in deltas:
            ids = told.setdefault(delta.id, [])
            ids.extend(delta.ids)
            if delta.scores:
                scores[delta.id] = scores.get(delta.id, ()) + delta.scores
            if delta.prompt_scores:
                assert delta.id not in prompts and not delta.offset
                prompts[delta.id] = delta.prompt_scores
            if delta.finish:
                ends[delta.id] = delta

    for request in requests:
        tell(scheduler.handle(request))
    running: Awaitable[StepResult] | None = None
    most, sizes = 0, []
    while not scheduler.idle or running is not None:
        plan = scheduler.plan(0.0)
        queued = None
        if plan is not None:
            queued = worker.submit(plan)
            sizes.append(int(worker.statistics()["bytes_last_step"]))
            most = max(most, int(scheduler.statistics()["running"]))
        if running is not None:
            tell(scheduler.commit(await running))
        if queued is not None and not way.overlap:
            tell(scheduler.commit(await queued))
            queued = None
        running = queued
    scheduler.check()
    return Outcome(
        {id: tuple(ids) for id, ids in told.items()}, scheduler.statistics(), most, sizes, ends, scores, prompts
    )


def request(name: str, prompt: TokenIds, sampling: SamplingParams, output: TokenIds = ()) -> Submit:
    return Submit(id=f"{name}.0", parent_id=name, prompt=prompt, sampling=sampling, output=output)
