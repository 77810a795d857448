"""Requests whose output must match a grammar: it is compiled before the scheduler hears of them, beside the steps.

`Started` is on the bus first, so an engine that dies of a grammar counts as a death of its request (PROTOCOL 11). In
the ledger such a request is parked meanwhile: a cancel finds it there, and a trial does not wait for it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from services.engine.core.events import Delta
from services.engine.ledger import Ledger
from services.engine.loop import StepOutput
from services.engine.trials import Trials
from shared.channel import Channel
from shared.messages import GenerateRequest
from shared.types import FinishReason

Prepare = Callable[[str], Awaitable[str]]


async def no_grammars(grammar: str) -> str:
    return "this engine has no structured output"


class Preparation:
    def __init__(self, ledger: Ledger, outputs: Channel[StepOutput], trials: Trials, prepare: Prepare) -> None:
        self._ledger = ledger
        self._outputs = outputs
        self._trials = trials
        self._prepare = prepare
        self._waiting: deque[GenerateRequest] = deque()  # no more than the ledger holds
        self._news = asyncio.Event()

    def take(self, request: GenerateRequest) -> None:
        """The ledger has taken it."""
        self._ledger.park([request.id])
        self._waiting.append(request)
        self._news.set()

    async def run(self) -> None:
        """One after the other, for ever."""
        while True:
            self._news.clear()
            while self._waiting:
                await self._one(self._waiting.popleft())
            await self._news.wait()

    async def _one(self, request: GenerateRequest) -> None:
        await self._outputs.send(StepOutput((request.id,), ()))
        await self._ledger.until(lambda: self._ledger.published(request.id, tokens=0))
        refusal = await self._prepare(request.sampling.grammar)
        if not refusal:
            await self._trials.admit_parked(request.id)
        elif self._ledger.unpark(request.id) is not None:
            failed = Delta(request.id, len(request.output), (), FinishReason.ERROR, refusal)
            await self._outputs.send(StepOutput((), (failed,)))
