"""A scheduler that counts down and a worker that runs one step at a time, for tests of the engine's shell."""

import asyncio
from collections.abc import Awaitable

from services.engine.core.events import Abort, Delta, Event, Submit
from services.engine.core.step import StepPlan, StepResult
from shared.types import FinishReason

TURNS = 20


class Countdown:
    """A scheduler for requests of `max_tokens` tokens, all of them in every step; it logs what it was asked."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.left: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.begun: set[str] = set()
        self.flights: list[tuple[str, ...]] = []
        self.steps = 0
        self.planned: list[tuple[str, ...]] = []  # who was in each step

    @property
    def idle(self) -> bool:
        return not self.left and not self.flights

    def handle(self, event: Event) -> list[Delta]:
        match event:
            case Submit():
                self.left[event.id] = event.sampling.max_tokens - len(event.output)
                self.done[event.id] = len(event.output)
                return []
            case Abort(id):
                if self.left.pop(id, None) is None:
                    return []
                return [Delta(id, self.done[id], (), FinishReason.CANCEL)]

    def expire(self, now: float) -> list[Delta]:
        return []

    def plan(self, now: float) -> StepPlan | None:
        ids = tuple(i for i, left in self.left.items() if left > sum(i in f for f in self.flights))
        if not ids:
            return None
        began = tuple(i for i in ids if i not in self.begun)
        self.begun.update(began)
        self.flights.append(ids)
        self.steps += 1
        self.log.append(f"plan {self.steps}")
        self.planned.append(ids)
        return StepPlan(self.steps, (), (), (), (), began)

    def commit(self, result: StepResult) -> list[Delta]:
        self.log.append(f"commit {result.step}")
        deltas = []
        for i in self.flights.pop(0):
            if i in self.left:
                self.left[i] -= 1
                end = FinishReason.LENGTH if self.left[i] == 0 else None
                deltas.append(Delta(i, self.done[i], (100 + self.done[i],), end))
                self.done[i] += 1
                if end:
                    del self.left[i]
        return deltas


class OneAtATime:
    """A worker whose steps end one after the other, by themselves or when the test says so."""

    def __init__(self, log: list[str], automatic: bool = True) -> None:
        self.log, self.automatic = log, automatic
        self.waiting: list[tuple[int, asyncio.Future[StepResult]]] = []
        self.prepared = asyncio.Event()
        self.prepared.set()

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[StepResult] = loop.create_future()
        self.waiting.append((plan.step, future))
        if self.automatic and len(self.waiting) == 1:
            self._later(TURNS)
        return future

    async def prepare(self, grammar: str) -> str:
        self.log.append(f"prepare {grammar}")
        await self.prepared.wait()
        return "it is bad" if grammar == "bad" else ""

    def _later(self, turns: int) -> None:
        """End the oldest step after that many turns of the loop: long enough for anybody who need not wait for it."""
        if turns:
            asyncio.get_running_loop().call_soon(self._later, turns - 1)
        else:
            self.finish()
            if self.waiting:
                self._later(TURNS)

    def finish(self) -> None:
        step, future = self.waiting.pop(0)
        self.log.append(f"end {step}")
        future.set_result(StepResult(step, ()))

    def statistics(self) -> dict[str, float]:
        return {}
