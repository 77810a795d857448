"""What the scheduler's shell needs of whoever computes."""

from collections.abc import Awaitable
from typing import NoReturn, Protocol

from services.engine.core.step import StepPlan, StepResult


class Worker(Protocol):
    """Executes plans one after the other in the order of `submit`, as a CUDA stream does."""

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        """Enqueue the step behind those submitted before and return at once; the awaitable ends with the step."""
        ...

    def statistics(self) -> dict[str, float]: ...


class OpenWorker(Worker, Protocol):
    """A worker with the memory it was opened with: what the scheduler has to keep to."""

    @property
    def num_blocks(self) -> int: ...

    @property
    def max_model_len(self) -> int: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def max_num_seqs(self) -> int: ...

    @property
    def max_batched_tokens(self) -> int: ...

    def prepare(self, grammar: str) -> Awaitable[str]:
        """Compile what an output must match, beside the steps; "" or why it cannot be used, in words for the client."""
        ...

    def fail(self, error: Exception) -> None:
        """The device is lost: whoever waits for a step or for `failure` is told."""
        ...

    async def failure(self) -> NoReturn:
        """Raises when the device is lost; a step that fails by itself says so to whoever awaits it."""
        ...

    def close(self) -> None:
        """End it, whatever still runs; may block."""
        ...
