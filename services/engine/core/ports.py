"""What the scheduler's shell needs of whoever computes."""

from collections.abc import Awaitable
from typing import Protocol

from services.engine.core.step import StepPlan, StepResult


class Worker(Protocol):
    """Executes plans one after the other in the order of `submit`, as a CUDA stream does."""

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        """Enqueue the step behind those submitted before and return at once; the awaitable ends with the step."""
        ...

    def statistics(self) -> dict[str, float]: ...
