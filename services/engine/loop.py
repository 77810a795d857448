"""Plan step N+1 while the device runs step N: the engine's heartbeat.

Three verbs of the scheduler (`handle`, `plan`, `commit`), one of the worker (`submit`), and all waiting of the engine's
hot path. What became of a step goes to the outbox through a bounded channel: a slow bus slows the device instead of
filling memory.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from services.engine.core.events import Delta, Event
from services.engine.core.ports import Worker
from services.engine.core.step import Seated, StepPlan, StepResult
from services.engine.quiet import quiet_lane
from services.engine.steps import StepLane
from shared.channel import Channel, Closed, Full
from shared.types import RequestId


class Scheduler(Protocol):
    """What the loop needs of `core.scheduler.Scheduler`; a bench may put another one in its place."""

    @property
    def idle(self) -> bool: ...

    def handle(self, event: Event) -> list[Delta]: ...

    def expire(self, now: float) -> list[Delta]: ...

    def plan(self, now: float) -> StepPlan | None: ...

    def commit(self, result: StepResult) -> list[Delta]: ...


@dataclass(frozen=True, slots=True)
class StepOutput:
    """News for the token streams: requests whose first step was submitted, and what became known of others."""

    began: tuple[RequestId, ...]
    deltas: tuple[Delta, ...]
    seated: tuple[Seated, ...] = ()  # of those that began, and of others


class EngineLoop:
    """Ends when `events` is closed and everything that was running has been committed. `lane` is told of each step."""

    def __init__(
        self,
        scheduler: Scheduler,
        worker: Worker,
        events: Channel[Event],
        outputs: Channel[StepOutput],
        *,
        overlap: bool = True,
        clock: Callable[[], float] = time.monotonic,
        lane: StepLane | None = None,
    ) -> None:
        self._lane = lane or quiet_lane()
        self._scheduler = scheduler
        self._worker = worker
        self._events = events
        self._outputs = outputs
        self._overlap = overlap
        self._clock = clock
        self._steps = 0
        self._overlapped = 0  # steps planned and submitted while another one ran

    async def run(self) -> None:
        running: Awaitable[StepResult] | None = None
        while not (self._events.finished and self._scheduler.idle and running is None):
            if running is None and self._scheduler.idle:  # nothing to do: sleep until something arrives
                self._lane.idles()
                try:
                    event = await self._events.receive()
                except Closed:
                    break
                self._lane.works()
                await self._handle([event])
            await self._handle(self._events.drain())
            queued = await self._submit(behind=running)  # step N+1, enqueued behind step N
            if running is not None:
                await self._commit(await running)  # step N's end is awaited here
            elif queued is None and not self._scheduler.idle:
                raise AssertionError("the scheduler holds requests, nothing runs, and it plans nothing")
            if queued is not None and not self._overlap:
                await self._commit(await queued)
                queued = None
            running = queued
        self._outputs.close()

    async def _handle(self, events: list[Event]) -> None:
        if not events:
            return
        began_ns = self._lane.now_ns()
        deltas = [delta for event in events for delta in self._scheduler.handle(event)]
        self._lane.planned(began_ns)
        if deltas:
            await self._tell(StepOutput((), tuple(deltas)))

    async def _submit(self, behind: Awaitable[StepResult] | None) -> Awaitable[StepResult] | None:
        lane, now = self._lane, self._clock()
        began_ns = lane.now_ns()
        if late := self._scheduler.expire(now):
            lane.planned(began_ns)
            await self._tell(StepOutput((), tuple(late)))
            began_ns = lane.now_ns()
        plan = self._scheduler.plan(now)
        lane.planned(began_ns)
        if plan is None:
            return None
        if plan.began:  # first: if this step breaks the engine, those who ran in it must be known (PROTOCOL 2, 11)
            await self._tell(StepOutput(plan.began, (), plan.seated))
        began_ns = lane.now_ns()
        queued = self._worker.submit(plan)
        lane.submitted(plan, began_ns)
        self._steps += 1
        self._overlapped += behind is not None and not _ended(behind)
        return queued

    async def _commit(self, result: StepResult) -> None:
        began_ns = self._lane.now_ns()
        deltas = self._scheduler.commit(result)
        self._lane.committed(result, began_ns)
        if deltas:
            await self._tell(StepOutput((), tuple(deltas)))

    async def _tell(self, output: StepOutput) -> None:
        """To the outbox; a bus that is seconds behind makes us wait here."""
        try:
            self._outputs.send_nowait(output)
        except Full:
            began_ns = self._lane.now_ns()
            await self._outputs.send(output)
            self._lane.pressed(began_ns)

    def statistics(self) -> dict[str, int]:
        return {"steps": self._steps, "overlapped": self._overlapped}


def _ended(step: Awaitable[StepResult]) -> bool:
    """Whether the step's end is known already; an awaitable that cannot tell counts as running."""
    done: Callable[[], bool] | None = getattr(step, "done", None)
    return done is not None and done()
