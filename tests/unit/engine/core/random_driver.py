"""Drives a scheduler and a fake worker with whatever calls it is given, and holds them against a model.

The model: each request's output is what `continuation` says, token for token, whatever else was in the batch; what was
aborted is a beginning of that; every request ends once and says nothing afterwards. `check()` after every call.
"""

import math
from collections import Counter, deque
from typing import TypeVar

from services.engine.core.events import Abort, Delta, Submit
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from shared.types import FinishReason, Lane, SamplingParams, TokenIds
from tests.fakes import FakeWorker, Pending, continuation

T = TypeVar("T")
VOCAB_SIZE = 12  # so small that stop ids are met often


class Driver:
    def __init__(self, config: SchedulerConfig) -> None:
        self.config = config
        self.scheduler = Scheduler(config)
        self.worker = FakeWorker(config.num_blocks, config.block_size, VOCAB_SIZE, stateless=config.stateless)
        self.flying: deque[Pending] = deque()
        self.held: dict[str, tuple[TokenIds, TokenIds, FinishReason]] = {}  # output so far; what it will be; its end
        self.deadlines: dict[str, float] = {}
        self.began: set[str] = set()
        self.finished: Counter[FinishReason] = Counter()
        self.now = 0.0

    def submit(self, event: Submit) -> None:
        deltas = self._checked(self.scheduler.handle(event))
        if event.id in self.held:
            assert deltas == []
            return
        model_len = self.config.max_model_len
        if deltas and deltas[0].finish is FinishReason.ERROR:
            needed = min(len(event.prompt) + event.sampling.max_tokens, model_len) - 1
            assert needed > self.config.num_blocks * self.config.block_size or len(event.prompt) >= model_len
            return
        whole, finish = continuation(event.prompt, event.sampling, VOCAB_SIZE, model_len)
        self.deadlines[event.id] = event.deadline
        self.held[event.id] = event.output, whole, finish
        self._told(deltas)

    def abort(self, id: str) -> None:
        deltas = self._checked(self.scheduler.handle(Abort(id)))
        named = {held for held in self.held if held == id or held.rpartition(".")[0] == id}
        assert {delta.id for delta in deltas} == named
        self._told(deltas)

    def plan(self) -> bool:
        self.now += 0.01
        self._told(self._checked(self.scheduler.expire(self.now)))
        plan = self._checked(self.scheduler.plan(self.now))
        if plan is None:
            assert self.flying or self.scheduler.idle, "Progress: somebody waits, nothing flies, and no plan comes"
            return False
        assert 0 < plan.num_tokens <= self.config.max_batched_tokens
        assert len(plan.work) <= self.config.max_num_seqs
        assert not self.began & set(plan.began) and self.held.keys() >= set(plan.began)
        self.began |= set(plan.began)
        self.flying.append(self.worker.submit(plan))
        return True

    def commit(self) -> None:
        """The worker runs the oldest step only now, behind everything that was planned meanwhile."""
        self._told(self._checked(self.scheduler.commit(self.flying.popleft().result())))

    def drain(self) -> None:
        """Run everything to its end: nothing may be left anywhere."""
        steps = 0
        while not self.scheduler.idle or self.flying:
            steps += 1
            assert steps < 20_000, "no end in sight"
            if (not self.plan() or len(self.flying) >= self.config.max_in_flight) and self.flying:
                self.commit()
        assert not self.held
        assert self.scheduler.statistics()["free_blocks"] == self.config.num_blocks

    def _told(self, deltas: list[Delta]) -> None:
        for delta in deltas:
            output, whole, finish = self.held[delta.id]
            assert delta.offset == len(output), f"{delta.id} goes on at {delta.offset}, not at {len(output)}"
            output += delta.ids
            assert output == whole[: len(output)], f"{delta.id} yields {output}, alone it yields {whole}"
            self.held[delta.id] = output, whole, finish
            if delta.finish is None:
                assert len(output) < len(whole), f"{delta.id} does not see its end"
                continue
            if delta.finish is FinishReason.TIMEOUT:
                assert self.deadlines[delta.id] <= self.now, f"{delta.id} ends before its deadline"
            elif delta.finish is not FinishReason.CANCEL:
                assert (output, delta.finish) == (whole, finish)
            self.finished[delta.finish] += 1
            self.began.discard(delta.id)
            del self.held[delta.id]

    def _checked(self, value: T) -> T:
        self.scheduler.check()
        return value


def a_submit(
    id: str, prompt: TokenIds, *, max_tokens: int, stop_ids: TokenIds = (), min_tokens: int = 0, priority: int = 0,
    arrival: float = 0.0, salt: str = "", seed: int = 0, output: TokenIds = (), lane: Lane = "interactive",
    tenant: str = "", deadline: float = math.inf,
) -> Submit:  # fmt: skip
    sampling = SamplingParams(max_tokens=max_tokens, stop_ids=stop_ids, min_tokens=min_tokens, seed=seed)
    return Submit(
        id=id,
        parent_id=id.rpartition(".")[0] or id,
        prompt=prompt,
        sampling=sampling,
        output=output,
        priority=priority,
        arrival=arrival,
        cache_salt=salt,
        lane=lane,
        tenant=tenant,
        deadline=deadline,
    )
