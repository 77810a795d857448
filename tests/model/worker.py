"""The model's device: the fake worker of the engine's own tests, which takes time, differs by card, and may die.

A token is a function of the request's seed, its position and all tokens before it, so a wrong context shows at once.
Where cards differ ("numerics") each boot draws one of two tokens after the same prefix, as floating-point ties would.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NoReturn

from services.engine.core.step import RowAdd, StepPlan, StepResult
from shared.types import SamplingParams, TokenIds
from tests.fakes import FakeWorker, Pending, continuation

VOCABULARY_SIZE = 1000
MAX_MODEL_LEN = 64
NUM_BLOCKS, BLOCK_SIZE = 24, 4
POISON = 999  # a prompt that begins with it kills the engine that computes it


def drawn(sampling: SamplingParams, card: int) -> SamplingParams:
    """The request as this card sees it."""
    return replace(sampling, seed=2 * sampling.seed + card)


def next_tokens(known: TokenIds, sampling: SamplingParams, cards: int) -> set[int]:
    """What may come after these tokens, on any of the cards."""
    one = replace(sampling, max_tokens=1)
    return {continuation(known, drawn(one, card), VOCABULARY_SIZE, 10**6)[0][0] for card in range(cards)}


class SimWorker(FakeWorker):
    """Steps end one after the other, each `step_s()` virtual seconds after the one before. `die` ends the process."""

    num_blocks, max_model_len, vocab_size = NUM_BLOCKS, MAX_MODEL_LEN, VOCABULARY_SIZE
    max_num_seqs, max_batched_tokens = 2, 16

    def __init__(self, card: int, step_s: Callable[[], float], die: Callable[[], None]) -> None:
        super().__init__(NUM_BLOCKS, BLOCK_SIZE, VOCABULARY_SIZE)
        self._card = card
        self._step_s = step_s
        self._die = die
        self._free_at = 0.0
        self._poisoned: set[int] = set()

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:  # type: ignore[override]
        pending = super().submit(plan)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[StepResult] = loop.create_future()
        self._free_at = max(self._free_at, loop.time()) + self._step_s()
        self._poisoned -= set(plan.removed)
        self._poisoned |= {add.row for add in plan.added if add.tokens[0] == POISON}
        kills = any(work.row in self._poisoned for work in plan.work)
        loop.call_at(self._free_at, self._end, pending, future, kills)
        return future

    def fail(self, error: Exception) -> None:
        """Nothing is lost here."""

    async def failure(self) -> NoReturn:
        """The device is never lost by itself."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable")

    def close(self) -> None:
        pass

    def _end(self, pending: Pending, future: asyncio.Future[StepResult], kills: bool) -> None:
        if kills:
            self._die()
        elif not future.done():
            future.set_result(pending.result())

    def _add(self, add: RowAdd) -> None:
        super()._add(replace(add, sampling=drawn(add.sampling, self._card)))
