"""What it costs to plan a step for many running rows, whatever their context and however many wait behind them.

python -m bench.planning          plan + pack + submit, on the real scheduler and worker; nothing is computed

Times are the loop's thread's own, so a device that computes beside it, or another process, is not in them.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median, quantiles

import orjson

from services.engine.core.events import Submit
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.core.step import StepPlan, StepResult
from services.engine.worker.flight import Flight, HostEvent
from services.engine.worker.pack import Packed, Packer
from services.engine.worker.worker import Worker
from shared.types import SamplingParams

CONTEXTS, WAITING = (16, 512, 8192), (0, 1_000, 100_000)
BUDGET_MS, BUDGET_BYTES = 1.0, 8 * 1024
BLOCK, VOCABULARY = 16, 151_936
SPARE = 4  # blocks of each row beyond what the run needs


class NothingRunner:
    """A device that draws zeros at once; it keeps no state and knows no model."""

    late = False
    graph_steps = 0

    def launch(self, packed: Packed) -> Flight:
        return Flight(lambda: [0] * packed.header.sampled, HostEvent(), HostEvent())

    def close(self) -> None:
        """Nothing was opened."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step took to plan, and what it held."""

    plan_ms: float
    submit_ms: float  # packing included
    commit_ms: float  # of the step before
    bytes: int
    plan: StepPlan

    @property
    def ms(self) -> float:
        return self.plan_ms + self.submit_ms


async def steady_steps(rows: int, context: int, waiting: int, steps: int, *, leaving: bool = False) -> list[Step]:
    """Steps of pure decode: `rows` requests of `context` tokens run, `waiting` more find no row. As in the engine, the
    next step is planned while one is in flight. `leaving`: in each step one ends, and one of those who wait has its
    row, as long as `rows` lasts."""
    length = context + steps + 3 * BLOCK
    blocks = rows * (-(-length // BLOCK) + SPARE)
    budget = max(rows * context, rows)  # all prompts in the first step
    config = SchedulerConfig(
        num_blocks=blocks, block_size=BLOCK, max_num_seqs=rows, max_batched_tokens=budget, max_model_len=length
    )
    scheduler = Scheduler(config)
    worker = Worker(
        NothingRunner(),
        Packer(-(-length // BLOCK), VOCABULARY),
        num_blocks=blocks,
        max_model_len=length,
        vocab_size=VOCABULARY,
        max_num_seqs=rows,
        max_batched_tokens=budget,
        check_grammar=lambda grammar: "nothing is drawn here",
    )
    try:
        for event in _requests(rows, context, waiting, length, leaving):
            scheduler.handle(event)
        gc.collect()
        gc.freeze()  # as services.engine does
        running, measured = _submit(scheduler, worker)[0], list[Step]()
        for _ in range(steps + 1):
            queued, step = _submit(scheduler, worker)
            result = await running
            began = time.thread_time()
            scheduler.commit(result)
            measured.append(replace(step, commit_ms=1000 * (time.thread_time() - began)))
            running = queued
        scheduler.commit(await running)
    finally:
        gc.unfreeze()
        worker.close()
    return measured[1:]  # the first one's predecessor held all prompts


def _submit(scheduler: Scheduler, worker: Worker) -> tuple[Awaitable[StepResult], Step]:
    now, began = time.monotonic(), time.thread_time()
    plan = scheduler.plan(now)
    planned = time.thread_time()
    assert plan is not None
    result = worker.submit(plan)
    ended = time.thread_time()
    size = int(worker.statistics()["bytes_last_step"])
    return result, Step(1000 * (planned - began), 1000 * (ended - planned), 0.0, size, plan)


def _requests(rows: int, context: int, waiting: int, length: int, leaving: bool) -> Iterator[Submit]:
    """Prompts that share no prefix; those that wait differ in nothing."""
    usual = SamplingParams(max_tokens=length - context, temperature=0.8, top_p=0.95)
    same = tuple(range(1, context))
    prompts = [(number, *same) for number in range(rows)]
    prompts += [prompts[0][:BLOCK]] * waiting
    for number, prompt in enumerate(prompts):
        sampling = replace(usual, max_tokens=number + 3) if leaving and number < rows else usual
        yield Submit(id=f"{number}.0", parent_id=str(number), prompt=prompt, sampling=sampling, arrival=float(number))


@dataclass(frozen=True, slots=True)
class Case:
    """What the steps took, medians but for the p95, at a number of tokens of context and of requests that wait."""

    context: int
    waiting: int
    ms: float  # to plan, pack and submit
    p95_ms: float
    plan_ms: float
    submit_ms: float
    commit_ms: float
    bytes: float
    most_bytes: int

    @property
    def within(self) -> bool:
        return self.ms < BUDGET_MS and self.most_bytes < BUDGET_BYTES

    def __str__(self) -> str:
        times = (self.ms, self.p95_ms, self.plan_ms, self.submit_ms, self.commit_ms)
        shown = "".join(f"{ms:>7.3f} ms" for ms in times)
        return f"{self.context:>8,}{self.waiting:>9,}{shown}{self.bytes:>15,.0f}{self.most_bytes:>7,}"


def case(context: int, waiting: int, steps: Sequence[Step]) -> Case:
    return Case(
        context=context,
        waiting=waiting,
        ms=median(step.ms for step in steps),
        p95_ms=quantiles([step.ms for step in steps], n=20)[-1],
        plan_ms=median(step.plan_ms for step in steps),
        submit_ms=median(step.submit_ms for step in steps),
        commit_ms=median(step.commit_ms for step in steps),
        bytes=median(step.bytes for step in steps),
        most_bytes=max(step.bytes for step in steps),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.planning", description="The cost of planning a step.")
    parser.add_argument("--rows", type=int, default=256, help="requests that run")
    parser.add_argument("--steps", type=int, default=300, help="steps that are timed in each case")
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    arguments = parser.parse_args()
    for name in ("rows", "steps"):
        if getattr(arguments, name) < 2:
            parser.error(f"--{name} must be at least 2, not {getattr(arguments, name)}")
    print(f"one step of {arguments.rows} rows that decode: plan + pack + submit, {arguments.steps} steps in each case")
    names = "".join(f"{name:>10}" for name in ("median", "p95", "plan", "submit", "commit"))
    print(f"{'context':>8}{'waiting':>9}{names}{'median bytes':>15}{'max':>7}")
    cases: list[Case] = []
    for context, waiting in product(CONTEXTS, WAITING):
        steps = asyncio.run(steady_steps(arguments.rows, context, waiting, arguments.steps))
        cases.append(case(context, waiting, steps))
        print(cases[-1], flush=True)
    good = all(one.within for one in cases)
    print(f"budget: median below {BUDGET_MS:g} ms, below {BUDGET_BYTES:,} bytes: {'kept' if good else 'NOT kept'}")
    if arguments.out:
        budget = {"ms": BUDGET_MS, "bytes": BUDGET_BYTES}
        told = {"rows": arguments.rows, "budget": budget, "cases": [asdict(one) for one in cases]}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
