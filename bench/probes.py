"""What the loop and the device do, and when: wrappers around the real scheduler and worker that take times.

Wall times make the timeline, the thread's CPU times make the costs. Everything but `Device` runs on the loop's thread.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from services.engine.core.events import Delta, Event
from services.engine.core.scheduler import Scheduler
from services.engine.core.step import StepPlan, StepResult
from services.engine.worker.flight import Flight
from services.engine.worker.pack import Packed
from services.engine.worker.worker import Launcher, Worker


class Span(NamedTuple):
    """Something that took from `begin` to `end`, in seconds of `time.perf_counter`."""

    name: str
    begin: float
    end: float


class Probe:
    """Everything measured in one run."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.cpu_s: defaultdict[str, float] = defaultdict(float)  # by the spans' names
        self.tokens = 0
        self.finished = 0
        self.cpu_from: float | None = None  # the thread's CPU clock at the first plan

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        cpu, begin = time.thread_time(), time.perf_counter()
        if self.cpu_from is None:
            self.cpu_from = cpu
        try:
            yield
        finally:
            self.spans.append(Span(name, begin, time.perf_counter()))
            self.cpu_s[name] += time.thread_time() - cpu


class TimedScheduler:
    """The scheduler as the loop sees it; `on_finish` hears how many requests have ended."""

    def __init__(self, inner: Scheduler, probe: Probe, on_finish: Callable[[int], None]) -> None:
        self._inner = inner
        self._probe = probe
        self._on_finish = on_finish

    @property
    def idle(self) -> bool:
        return self._inner.idle

    def handle(self, event: Event) -> list[Delta]:
        return self._inner.handle(event)

    def expire(self, now: float) -> list[Delta]:
        return self._inner.expire(now)

    def plan(self, now: float) -> StepPlan | None:
        with self._probe.span("plan"):
            return self._inner.plan(now)

    def commit(self, result: StepResult) -> list[Delta]:
        with self._probe.span("commit"):
            deltas = self._inner.commit(result)
        self._probe.tokens += sum(len(delta.ids) for delta in deltas)
        if ended := sum(delta.finish is not None for delta in deltas):
            self._probe.finished += ended
            self._on_finish(self._probe.finished)
        return deltas


class TimedWorker:
    """The worker as the loop sees it. Its own counters of busy and idle seconds count from the end of the first step,
    as the pause before a run is nobody's fault."""

    def __init__(self, inner: Worker, probe: Probe) -> None:
        self._inner = inner
        self._probe = probe
        self._base: dict[str, float] | None = None

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        with self._probe.span("submit"):
            result = self._inner.submit(plan)
        if self._base is None and isinstance(result, asyncio.Future):
            result.add_done_callback(lambda _: self._begin())
        return result

    def statistics(self) -> dict[str, float]:
        return self._inner.statistics()

    def _begin(self) -> None:
        if self._base is None:
            self._base = self._inner.statistics()

    @property
    def busy_share(self) -> float:
        """Of the time from the end of the first step to the end of the last."""
        now, base = self._inner.statistics(), self._base or {}
        busy, idle = (now[name] - base.get(name, 0.0) for name in ("busy_seconds", "idle_seconds"))
        return busy / (busy + idle) if busy + idle else 0.0


class Device:
    """Stands between a worker and its runner and notes when each step computed, and how many bytes it was sent. On
    CUDA a step begins when it was launched or when the one before it ended, whichever is later."""

    def __init__(self, runner: Launcher) -> None:
        self._runner = runner
        self._ended = 0.0
        self.late = runner.late
        self.spans: list[Span] = []
        self.bytes: list[int] = []

    @classmethod
    def of(cls, worker: Worker) -> "Device":
        """The worker has no door for this, and needs none for anything else."""
        device = cls(worker._runner)
        worker._runner = device
        return device

    @property
    def graph_steps(self) -> int:
        return self._runner.graph_steps

    def launch(self, packed: Packed) -> Flight:
        self.bytes.append(packed.buffer.nbytes)
        begin = time.perf_counter()
        flight = self._runner.launch(packed)

        def waited() -> list[int]:
            ids = flight.wait()
            end = time.perf_counter()
            self.spans.append(Span("step", max(begin, self._ended), end))
            self._ended = end
            return ids

        return replace(flight, wait=waited)

    def close(self) -> None:
        self._runner.close()
