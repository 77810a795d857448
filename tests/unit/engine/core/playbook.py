"""Scripts for the scheduler, after mitmproxy's Playbook: events on one side, plans and deltas on the other.

    play = Playbook(num_blocks=8, block_size=4)
    play.submit("a", 5, max_tokens=2)          a prompt of five tokens, 0 1 2 3 4
    assert play.plan() == "+a a[0:5]*"         added, computes positions 0 to 4, draws
    assert play.plan() == "a[5:6]*"            the next step, while the first one runs
    assert play.commit(a=7) == "a@0=7"         the first step drew 7 for a, known as output 0
    assert play.commit(a=8) == "a@1=8:length"

In a plan: `-a` removed, `+a` added, `a+2` two blocks appended, `a[start:end]` work, `*` draws. `check()` runs always.
"""

import math
from collections import deque

from services.engine.core.events import Abort, Delta, Submit
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.core.step import StepPlan, StepResult
from shared.types import FinishReason, Lane, SamplingParams, TokenIds


def config(
    *, num_blocks: int = 64, block_size: int = 4, max_num_seqs: int = 4, max_batched_tokens: int = 64,
    max_model_len: int = 128, max_in_flight: int = 2, prefix_caching: bool = False, stateless: bool = False,
    aging_s: float = 30.0,
) -> SchedulerConfig:  # fmt: skip
    """A small engine. Prefix caching is off unless the script is about it."""
    return SchedulerConfig(
        num_blocks=num_blocks,
        block_size=block_size,
        max_num_seqs=max_num_seqs,
        max_batched_tokens=max_batched_tokens,
        max_model_len=max_model_len,
        max_in_flight=max_in_flight,
        prefix_caching=prefix_caching,
        stateless=stateless,
        aging_s=aging_s,
    )


class Playbook:
    def __init__(self, settings: SchedulerConfig | None = None) -> None:
        self.scheduler = Scheduler(settings or config())
        self.plans: list[StepPlan] = []
        self.flying: deque[list[str]] = deque()  # who draws, for each step in flight
        self._names: dict[int, str] = {}  # of rows
        self._calls = 0

    def submit(
        self, id: str, prompt: int | TokenIds, *, max_tokens: int = 16, output: TokenIds = (), stop_ids: TokenIds = (),
        min_tokens: int = 0, priority: int = 0, arrival: float = 0.0, salt: str = "", parent: str = "",
        lane: Lane = "interactive", tenant: str = "", deadline: float = math.inf,
    ) -> str:  # fmt: skip
        """A prompt given as a number n is n tokens, 0 to n - 1; the parent of "p.0" is "p" unless it is given."""
        event = Submit(
            id=id,
            parent_id=parent or id.rpartition(".")[0] or id,
            prompt=tuple(range(prompt)) if isinstance(prompt, int) else prompt,
            sampling=SamplingParams(max_tokens=max_tokens, stop_ids=stop_ids, min_tokens=min_tokens),
            output=output,
            priority=priority,
            arrival=arrival,
            cache_salt=salt,
            lane=lane,
            tenant=tenant,
            deadline=deadline,
        )
        return self._told(self.scheduler.handle(event))

    def abort(self, id: str, reason: FinishReason = FinishReason.CANCEL) -> str:
        return self._told(self.scheduler.handle(Abort(id, reason)))

    def expire(self, now: float) -> str:
        return self._told(self.scheduler.expire(now))

    def plan(self, now: float = 0.0) -> str | None:
        self._calls += 1
        assert self._calls < 1000, "no end in sight"
        plan = self.scheduler.plan(now)
        self.scheduler.check()
        if plan is None:
            return None
        self.plans.append(plan)
        words = [f"-{self._names.pop(row)}" for row in plan.removed]
        launched = list(self.scheduler._flights)[-1].rows  # the plan names rows only
        self._names |= {row.row: row.id for row in launched}
        words += [f"+{self._names[add.row]}" for add in plan.added]
        words += [f"{self._names[more.row]}+{len(more.blocks)}" for more in plan.appended]
        for work in plan.work:
            star = "*" * work.samples
            words.append(f"{self._names[work.row]}[{work.start}:{work.start + work.count}]{star}")
        self.flying.append([self._names[work.row] for work in plan.work if work.samples])
        return " ".join(words)

    def commit(self, **tokens: int) -> str:
        """The oldest step in flight ends; it drew these tokens, 100 where none is given."""
        drawn = tuple(tokens.pop(name.replace(".", "_"), 100) for name in self.flying[0])
        assert not tokens, f"the step draws nothing for {tokens}"
        self.flying.popleft()
        step = self.plans[-1].step - len(self.flying)
        return self._told(self.scheduler.commit(StepResult(step, drawn)))

    def step(self, **tokens: int) -> str:
        """Plan and commit at once, as the synchronous engine does; only the deltas are shown."""
        assert self.plan() is not None
        return self.commit(**tokens)

    def run_while_held(self, id: str) -> None:
        """Step after step until this request has ended."""
        while id in self.scheduler._requests.by_id:
            self.commit() if self.flying else self.plan()

    def finish(self) -> None:
        """Run until nothing is held and nothing flies; the check asserts that every block and every row is free."""
        while self.flying or not self.scheduler.idle:
            self.commit() if self.flying else self.plan()

    def statistic(self, name: str) -> float:
        return self.scheduler.statistics()[name]

    def _told(self, deltas: list[Delta]) -> str:
        self.scheduler.check()
        return " ".join(
            f"{delta.id}@{delta.offset}"
            + "".join(f"={token}" for token in delta.ids)
            + (f":{delta.finish.value}" if delta.finish else "")
            for delta in deltas
        )
