"""The stateful worker: plans go in, drawn ids come out, in order, while the caller goes on.

`submit` packs the plan and returns; a thread launches it behind those before it. Where steps are computed by a card or
by another process that thread only enqueues, and a second one waits for the end of each. On this process's own CPU it
computes: torch lets go of the interpreter meanwhile, so planning overlaps there too.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import NoReturn, Protocol

from services.engine.core.step import StepCost, StepPlan, StepResult
from services.engine.worker.completion import Completion, Job, Lane
from services.engine.worker.flight import Flight
from services.engine.worker.masks import deep_stacks
from services.engine.worker.pack import Packed, Packer
from services.engine.worker.timing import StepClock

REMEMBERED = 8  # steps that may still be awaited, more than are ever in flight
CLOSE_S = 1.0  # for what still runs at the end: nobody waits for it any more
now_ns = time.monotonic_ns


class Launcher(Protocol):
    """What a worker needs of `runner.Runner`, or of `apart.RemoteRunner`."""

    late: bool  # a step that was launched has not run yet: another thread should wait for it

    @property
    def graph_steps(self) -> int: ...

    def launch(self, packed: Packed) -> Flight: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Counters:
    """What was done. The sending side writes the first four, the lane that sees a step end writes the others."""

    steps: int = 0
    tokens: int = 0  # computed
    bytes_sent: int = 0
    bytes_last_step: int = 0
    steps_done: int = 0
    busy_seconds: float = 0.0  # of the device, from the begin of a step to its end, by the device's own events
    idle_seconds: float = 0.0  # of the device, from the end of a step to the begin of the next


class Worker:
    """Executes plans; see `core.ports.Worker`. Made by `assembly.assemble`.

    The public attributes are what the scheduler has to keep to.
    """

    def __init__(
        self,
        runner: Launcher,
        packer: Packer,
        *,
        num_blocks: int,
        max_model_len: int,
        vocab_size: int,
        max_num_seqs: int,
        max_batched_tokens: int,
        check_grammar: Callable[[str], str],
        setup: Job = lambda: None,
    ) -> None:
        """`setup` is called first in the thread that launches the steps."""
        self.num_blocks = num_blocks
        self.max_model_len = max_model_len
        self.vocab_size = vocab_size
        self.max_num_seqs = max_num_seqs
        self.max_batched_tokens = max_batched_tokens
        self._runner = runner
        self._packer = packer
        self._steps = Lane("sluice-step", setup)
        self._waits = Lane("sluice-wait") if runner.late else self._steps
        self._check_grammar = check_grammar
        with deep_stacks():
            self._grammars = Lane("sluice-grammar")
        self._failure: Exception | None = None
        self._latest: deque[Completion[StepResult]] = deque(maxlen=REMEMBERED)
        self._lost: Completion[None] | None = None
        self._counters = _Counters()
        self._clock = StepClock()

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        """Enqueue the step and return at once. The future ends with the step, or with what went wrong in it.

        After a step that failed the device's state is unknown: each later one fails with the same exception.
        """
        began_ns = now_ns()
        packed = self._packer.pack(plan)
        pack_ns = now_ns() - began_ns
        counters, size = self._counters, packed.buffer.nbytes
        counters.steps += 1
        counters.tokens += plan.num_tokens
        counters.bytes_sent += size
        counters.bytes_last_step = size
        completion = Completion[StepResult]()
        self._latest.append(completion)
        self._steps.put(partial(self._launch, packed, pack_ns, completion))
        return completion.future

    def prepare(self, grammar: str) -> Awaitable[str]:
        """Compile what an output must match, beside the steps. The future has "", or why it cannot be used."""
        completion = Completion[str]()
        self._grammars.put(partial(self._prepare, grammar, completion))
        return completion.future

    def warm_up(self, *plans: StepPlan) -> None:
        """Run plans to their end before the first request, so that it need not wait for what happens only once."""
        for plan in plans:
            packed = self._packer.pack(plan)
            self._steps.call(partial(_run, self._runner, packed))

    def statistics(self) -> dict[str, float]:
        return {**asdict(self._counters), "graph_steps": self._runner.graph_steps}

    def fail(self, error: Exception) -> None:
        """The device, or a part of it, is gone: whoever waits for a step or for `failure` is told. From any thread."""
        self._failure = error
        for completion in (*self._latest, self._lost):
            if completion is not None:
                completion.fail(error)

    async def failure(self) -> NoReturn:
        """Raises what `fail` was told, when it is; a step that fails by itself says so to whoever awaits it."""
        self._lost = Completion[None]()
        if self._failure is not None:
            raise self._failure
        await self._lost.future
        raise AssertionError("a loss is an exception")

    def close(self) -> None:
        """Waits CLOSE_S for what was submitted, and not at all once the device is gone: then it may never end."""
        wait_s = CLOSE_S if self._failure is None else 0.0
        self._steps.close(wait_s)
        if self._waits is not self._steps:
            self._waits.close(wait_s)
        self._grammars.close(0.0)
        self._runner.close()

    def _prepare(self, grammar: str, completion: Completion[str]) -> None:
        with completion.failing():
            completion.succeed(self._check_grammar(grammar))

    def _launch(self, packed: Packed, pack_ns: int, completion: Completion[StepResult]) -> None:
        with completion.failing():
            if self._failure is not None:
                raise self._failure
            began_ns, replayed = now_ns(), self._runner.graph_steps
            try:
                flight = self._runner.launch(packed)
            except Exception as error:
                self._failure = error
                raise
            # What has run by now began when it was launched.
            launched_ns = now_ns() if self._runner.late else flight.begun.at_ns
            graph = self._runner.graph_steps > replayed
            cost = StepCost(pack_ns, began_ns, launched_ns - began_ns, packed.buffer.nbytes, graph)
            if self._waits is self._steps:
                self._finish(packed, flight, cost, completion)
            else:
                self._waits.put(partial(self._finish, packed, flight, cost, completion))

    def _finish(self, packed: Packed, flight: Flight, cost: StepCost, completion: Completion[StepResult]) -> None:
        with completion.failing():
            try:
                results = flight.wait()
                placed = self._clock.place(flight.begun, flight.ended, now_ns())
                tokens, scores = packed.in_plan_order(results), packed.scores(results)
                prompts = packed.prompt_scores(results)
            except Exception as error:
                self._failure = error
                raise
            self._counters.steps_done += 1
            self._counters.busy_seconds += placed.busy_s
            self._counters.idle_seconds += placed.idle_s
            faults = tuple((packed.order[index], why) for index, why in flight.faults)
            result = StepResult(
                packed.header.step, tokens, faults, scores, prompts, placed.begun_ns, placed.ended_ns, cost
            )
            completion.succeed(result)


def _run(runner: Launcher, packed: Packed) -> list[int]:
    return runner.launch(packed).wait()
