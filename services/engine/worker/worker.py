"""The stateful worker: plans go in, drawn ids come out, in order, while the caller goes on.

`submit` packs the plan and returns; the step runs behind those before it in a thread of its own. torch lets go of the
interpreter while it computes, so planning overlaps on a CPU as it does on a GPU. On CUDA that thread only enqueues, and
a second one waits for the event of each step.
"""

import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from functools import partial

import torch

from services.engine.core.step import StepPlan, StepResult
from services.engine.worker.completion import Completion, Lane
from services.engine.worker.link import Wait
from services.engine.worker.pack import Packed, Packer
from services.engine.worker.runner import Runner


@dataclass(slots=True)
class _Counters:
    """What was done. The sending side writes the first four, the lane that sees a step end writes the others."""

    steps: int = 0
    tokens: int = 0  # computed
    bytes_sent: int = 0
    bytes_last_step: int = 0
    steps_done: int = 0
    busy_seconds: float = 0.0  # from the launch of a step (or the end of the one before, if later) to its end
    idle_seconds: float = 0.0  # from the end of a step to the launch of the next


class Worker:
    """Executes plans; see `core.ports.Worker`. Made by `open_worker`.

    `num_blocks`, `max_model_len` and `vocab_size` are what the scheduler has to keep to.
    """

    def __init__(self, runner: Runner, packer: Packer, *, threads: int) -> None:
        self.num_blocks = runner.num_blocks
        self.max_model_len = runner.max_model_len
        self.vocab_size = runner.vocab_size
        self._runner = runner
        self._packer = packer
        self._steps = Lane("sluice-step", partial(torch.set_num_threads, threads))
        self._waits = Lane("sluice-wait") if runner.waits_apart else self._steps
        self._failure: Exception | None = None
        self._counters = _Counters()
        self._ended = 0.0  # when the last step did, on time.perf_counter; 0 before the first

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        """Enqueue the step and return at once. The future ends with the step, or with what went wrong in it.

        After a step that failed the device's state is unknown: each later one fails with the same exception.
        """
        packed = self._packer.pack(plan)
        counters, size = self._counters, packed.buffer.nbytes
        counters.steps += 1
        counters.tokens += plan.num_tokens
        counters.bytes_sent += size
        counters.bytes_last_step = size
        completion = Completion[StepResult]()
        self._steps.put(partial(self._launch, packed, completion))
        return completion.future

    def warm_up(self, *plans: StepPlan) -> None:
        """Run plans to their end before the first request, so that it need not wait for what happens only once."""
        for plan in plans:
            packed = self._packer.pack(plan)
            self._steps.call(partial(_run, self._runner, packed))

    def statistics(self) -> dict[str, float]:
        return asdict(self._counters)

    def close(self) -> None:
        """Blocks until what was submitted has run."""
        self._steps.close()
        if self._waits is not self._steps:
            self._waits.close()

    def _launch(self, packed: Packed, completion: Completion[StepResult]) -> None:
        with completion.failing():
            if self._failure is not None:
                raise self._failure
            launched = time.perf_counter()
            try:
                wait = self._runner.launch(packed)
            except Exception as error:
                self._failure = error
                raise
            if self._waits is self._steps:
                self._finish(packed, launched, wait, completion)
            else:
                self._waits.put(partial(self._finish, packed, launched, wait, completion))

    def _finish(self, packed: Packed, launched: float, wait: Wait, completion: Completion[StepResult]) -> None:
        with completion.failing():
            try:
                tokens = packed.in_plan_order(wait())
            except Exception as error:
                self._failure = error
                raise
            self._count(launched, time.perf_counter())
            completion.succeed(StepResult(packed.header.step, tokens))

    def _count(self, launched: float, ended: float) -> None:
        counters = self._counters
        counters.steps_done += 1
        counters.busy_seconds += ended - max(launched, self._ended)
        if self._ended:
            counters.idle_seconds += max(0.0, launched - self._ended)
        self._ended = ended


def _run(runner: Runner, packed: Packed) -> list[int]:
    return runner.launch(packed)()
