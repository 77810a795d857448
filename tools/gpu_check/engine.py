"""The engine without its shell's bus: the real scheduler, worker and loop in this process, and what is seen of them."""

import gc
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import uvloop

from services.engine.config import EngineConfig
from services.engine.core.events import Delta, Event, Submit
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.core.step import StepPlan, StepResult
from services.engine.loop import EngineLoop, StepOutput
from services.engine.worker.opening import open_worker
from services.engine.worker.pack import Packer
from services.engine.worker.worker import Worker
from shared.channel import Channel
from shared.types import RequestId, SamplingParams, TokenIds

BLOCK = 16  # tokens, of the KV cache
BUSY, IDLE = "busy_seconds", "idle_seconds"  # of the device, by its own events


class Step(NamedTuple):
    """One step as the loop's thread saw it."""

    plan_s: float
    submit_s: float  # packing included
    rows: int
    decode: bool  # nothing was prefilled in it
    bytes: int


class Watch:
    """A note of every step, kept by the two below."""

    def __init__(self, worker: Worker, few: int, on_decode: Callable[[int], None], *, keep: bool = False) -> None:
        """Steps of fewer rows than `few` are the tail. `on_decode` hears, as each step of a stretch in which nothing is
        prefilled ends, how many there were. Plans are kept for `pack_ms` only: so many objects cost the collector."""
        self.steps: list[Step] = []
        self.told: dict[RequestId, list[int]] = {}
        self.planned_s = 0.0  # of the last plan
        self.keep = keep
        self.plans: list[StepPlan] = []
        self._worker = worker
        self._few = few
        self._on_decode = on_decode
        self._begun: dict[str, float] = {}  # the worker's statistics when that stretch began,
        self._fell: dict[str, float] = {}  # when the tail did,
        self._last: dict[str, float] = {}  # and at the end
        self._ended = 0  # steps
        self._decoded = 0  # of that stretch

    def ended(self, deltas: list[Delta]) -> None:
        for delta in deltas:
            self.told.setdefault(delta.id, []).extend(delta.ids)
        step = self.steps[self._ended]
        self._decoded = self._decoded + 1 if step.decode else 0
        self._ended += 1
        if self._decoded:
            self._last = self._worker.statistics()
            if self._decoded == 1:
                self._begun = self._last
            if step.rows >= self._few or self._decoded == 1:
                self._fell = self._last
            self._on_decode(self._decoded)

    @property
    def steady_idle(self) -> float:
        """Share of the time in which the device lay idle, from the first step without prefill to the tail."""
        return _idle(self._begun, self._fell)

    @property
    def tail_idle(self) -> float:
        """Likewise, from the beginning of the tail to the end of the last step."""
        return _idle(self._fell, self._last)

    def steady(self) -> "Steady":
        """Medians over the steps without prefill; over all of them where there is none."""
        steps = [step for step in self.steps if step.decode] or self.steps
        return Steady(
            plan_ms=1000 * median(step.plan_s for step in steps),
            submit_ms=1000 * median(step.submit_s for step in steps),
            both_ms=1000 * median(step.plan_s + step.submit_s for step in steps),
            bytes=median(step.bytes for step in steps),
            steps=len(steps),
        )

    def pack_ms(self, packer: Packer) -> float:
        """Median of packing the same plans again, of those without prefill."""
        taken = []
        for plan in self.plans:
            began = time.perf_counter()
            packer.pack(plan)
            taken.append((_decodes(plan), time.perf_counter() - began))
        return 1000 * median([s for decode, s in taken if decode] or [s for _, s in taken])


class _Scheduler(Scheduler):
    """Times its plans and tells a watch what was drawn."""

    def __init__(self, config: SchedulerConfig, watch: Watch) -> None:
        super().__init__(config)
        self._watch = watch

    def plan(self, now: float) -> StepPlan | None:
        began = time.perf_counter()
        plan = super().plan(now)
        self._watch.planned_s = time.perf_counter() - began
        return plan

    def commit(self, result: StepResult) -> list[Delta]:
        deltas = super().commit(result)
        self._watch.ended(deltas)
        return deltas


class _Worker:
    """Times what it takes to submit."""

    def __init__(self, inner: Worker, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        began = time.perf_counter()
        result = self._inner.submit(plan)
        taken = time.perf_counter() - began
        size = int(self._inner.statistics()["bytes_last_step"])
        self._watch.steps.append(Step(self._watch.planned_s, taken, len(plan.work), _decodes(plan), size))
        if self._watch.keep:
            self._watch.plans.append(plan)
        return result

    def statistics(self) -> dict[str, float]:
        return self._inner.statistics()


class Steady(NamedTuple):
    plan_ms: float
    submit_ms: float
    both_ms: float
    bytes: float
    steps: int


@dataclass(frozen=True, slots=True)
class Run:
    seconds: float  # from the first request handed over to the last token told
    cpu_s: float  # of all threads of this process
    watch: Watch

    @property
    def tokens(self) -> int:
        return sum(map(len, self.watch.told.values()))

    def of(self, request: RequestId) -> TokenIds:
        return tuple(self.watch.told.get(request, ()))


class _Nobody(Channel[StepOutput]):
    """Takes the place of the outbox: there is nobody to tell."""

    def __init__(self) -> None:
        super().__init__(1)

    async def send(self, item: StepOutput) -> None:
        return None


def open_engine(folder: Path, device: str, **fields: Any) -> Worker:
    """`fields` are those of EngineConfig. Blocks. Raises ConfigError for what does not fit."""
    return open_worker(EngineConfig(model=str(folder), device=device, block_size=BLOCK, **fields), folder)  # type: ignore[arg-type]  # a card's kind is one of its devices


def submits(asks: Iterable[tuple[TokenIds, SamplingParams]]) -> list[Submit]:
    return [
        Submit(id=f"{n}.0", parent_id=str(n), prompt=prompt, sampling=sampling, arrival=float(n))
        for n, (prompt, sampling) in enumerate(asks)
    ]


def run(
    worker: Worker,
    requests: Sequence[Submit],
    *,
    few: int = 0,
    on_decode: Callable[[int], None] = lambda count: None,
    keep: bool = False,
) -> Run:
    """All requests at once, until the last has ended. Blocks: it has a loop of its own. See `Watch` for the others."""
    config = SchedulerConfig(
        num_blocks=worker.num_blocks,
        block_size=BLOCK,
        max_num_seqs=worker.max_num_seqs,
        max_batched_tokens=worker.max_batched_tokens,
        max_model_len=worker.max_model_len,
    )
    watch = Watch(worker, few, on_decode, keep=keep)
    events = Channel[Event](max(len(requests), 1))
    loop = EngineLoop(_Scheduler(config, watch), _Worker(worker, watch), events, _Nobody())
    gc.collect()
    gc.freeze()  # as services.engine does
    try:
        began, cpu = time.perf_counter(), time.process_time()
        for request in requests:
            events.send_nowait(request)
        events.close()
        uvloop.run(loop.run())  # as the services do
        return Run(time.perf_counter() - began, time.process_time() - cpu, watch)
    finally:
        gc.unfreeze()


def _decodes(plan: StepPlan) -> bool:
    """Whether nothing is prefilled in it."""
    return not plan.added and all(work.count == 1 for work in plan.work)


def _idle(first: Mapping[str, float], last: Mapping[str, float]) -> float:
    """0 where no time has passed."""
    busy, idle = (last.get(name, 0.0) - first.get(name, 0.0) for name in (BUSY, IDLE))
    return idle / (busy + idle) if busy + idle else 0.0
