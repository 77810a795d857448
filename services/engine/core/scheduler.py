"""Decides which requests run next. Knows no device, no bus, no clock.

    deltas = scheduler.handle(Submit(...))   what is told at once: refusals, ends of what was aborted
    plan = scheduler.plan(now)               one step, filled under the token budget; may be called while others run
    deltas = scheduler.commit(result)        what the oldest launched step brought
    deltas = scheduler.expire(now)           ends of those whose deadline has passed

The rules:
- Admission is by lane, then between tenants in turn (`fairness.py`), then by rank.
- Ranks are total: priority, aged by arrival (`Request.rank`). Running requests are given blocks in that order and lose
  them in the reverse order, so the first of them always moves.
- Progress: `plan` returns a step unless nothing is held or a step is in flight.
- Lateness: a token drawn for a request that has ended since is dropped in `commit`.
- Lifetime: blocks are released when the last launched step that uses them has committed.
- A length stop is known at launch and wastes no row; a stop id is seen one step late.

After vLLM's V1 scheduler (one kind of work, prefix hashes, recompute) and mini-sglang's overlap (depth two).
"""

from collections import Counter
from dataclasses import asdict
from typing import assert_never

from services.engine.core.config import SchedulerConfig as SchedulerConfig
from services.engine.core.counters import Counters
from services.engine.core.deadlines import Deadlines
from services.engine.core.draft import Draft
from services.engine.core.events import Abort, Delta, Event, Submit
from services.engine.core.flights import Flights
from services.engine.core.registry import Registry
from services.engine.core.request import Phase, Request
from services.engine.core.residents import Residents
from services.engine.core.step import RowBlocks, StepPlan, StepResult
from services.engine.core.stopping import finish_of, finished_before, length_limit, refusal
from services.engine.core.waiting import WaitingQueue
from shared.types import FinishReason, RequestId


class Scheduler:
    def __init__(self, config: SchedulerConfig) -> None:
        self.config = config
        self._requests = Registry()
        self.waiting = WaitingQueue()  # for others to look at
        self._deadlines = Deadlines()
        self._flights = Flights()
        self._residents = Residents(config, self._flights)
        self._counters = Counters()
        self._epoch = 0
        self._preempted: list[RequestId] = []  # since the last step
        self.block_ages = self._residents.pool.ages  # for others to look at

    @property
    def idle(self) -> bool:
        """No request is held. A step launched for requests that have ended since may still be in flight."""
        return not len(self._requests)

    # ---- events ----------------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Delta]:
        match event:
            case Submit():
                return self._submit(event)
            case Abort():
                return self._abort(event)
            case _:
                assert_never(event)

    def _submit(self, event: Submit) -> list[Delta]:
        if event.id in self._requests.by_id:
            return []
        config, offset = self.config, len(event.output)
        if detail := refusal(event, config):
            self._counters.refused += 1
            return [Delta(event.id, offset, (), FinishReason.ERROR, detail)]
        limit = length_limit(len(event.prompt), event.sampling, config.max_model_len)
        if finish := finished_before(event, limit):
            self._counters.finished += 1
            return [Delta(event.id, offset, (), finish)]
        self._epoch += 1
        request = Request(event, self._epoch, limit, config.aging_s, config.block_size)
        self._requests.add(request)
        self.waiting.push(request)
        self._deadlines.add(request)
        return []

    def _abort(self, event: Abort) -> list[Delta]:
        ended = self._requests.named(event.id)
        self._counters.aborted += len(ended)
        return [self._end_as(event.reason, request) for request in ended]

    def expire(self, now: float) -> list[Delta]:
        """End those whose deadline has passed, waiting or running. `now` as for `plan`, which it is called before."""
        ended = self._deadlines.passed(now)
        self._counters.expired += len(ended)
        return [self._end_as(FinishReason.TIMEOUT, request) for request in ended]

    # ---- a step ----------------------------------------------------------------------------------------------------

    def plan(self, now: float) -> StepPlan | None:
        """The next step; None if nothing can be scheduled now. `now`: seconds, on the clock of the arrivals."""
        if self.idle or len(self._flights) >= self.config.max_in_flight:
            return None
        self.block_ages.now = now
        draft = Draft(self._preempted)
        spare = self._continue_running(draft)
        self._admit(draft, spare, now)
        return self._launch(draft) if draft.decodes or draft.chunks else None

    def _continue_running(self, draft: Draft) -> int:
        """One token for each that decodes, chunks for the others. Returns the budget left for admissions."""
        running = self._residents.by_rank
        spare = self.config.max_batched_tokens - sum(request.known - request.computed == 1 for request in running)
        position = 0
        while position < len(running):  # the tail may be preempted meanwhile
            request = running[position]
            position += 1
            count = request.known - request.computed
            if count == 1:
                if request.computed < request.capacity or self._grow(request, draft):
                    draft.decodes.append((request, 1))
            elif spare:
                count = min(count, spare)
                spare -= count
                draft.chunks.append((request, count))
        return spare

    def _grow(self, request: Request, draft: Draft) -> bool:
        """One more block, if need be from those of the lowest rank. False: not in this step."""
        residents = self._residents
        while not residents.pool.free:
            # What comes back at a commit may be enough; and the last in rank waits, holding what others may yet take.
            if self._flights.blocks_held or residents.by_rank[-1] is request:
                return False
            self._preempt(residents.by_rank[-1])
        block = residents.grow(request)
        draft.appended.append(RowBlocks(request.row, len(request.blocks) - 1, (block,)))
        return True

    def _preempt(self, request: Request) -> None:
        self._counters.preemptions += 1
        self._preempted.append(request.id)
        self._residents.leave(request)
        if request.in_flight:
            request.phase = Phase.PARKED
        else:
            self._requeue(request)

    def _requeue(self, request: Request) -> None:
        request.rest()
        self.waiting.push(request)

    def _admit(self, draft: Draft, spare: int, now: float) -> None:
        """Whoever's turn it is; nobody overtakes a request that finds no room, so large ones do not starve."""
        counters = self._counters
        while spare and (request := self.waiting.first()) is not None and self._residents.seat(request):
            self.waiting.pop()
            count = min(request.known - request.computed, spare)
            spare -= count
            draft.chunks.append((request, count))
            draft.added.append(request)
            counters.admitted += 1
            if self.config.prefix_caching:
                counters.prefix_queries += request.known
                counters.prefix_hits += request.computed
            if not request.began:
                request.began = True
                draft.began.append(request.id)
                counters.departed += 1
                counters.queued_s += now - request.arrival

    def _launch(self, draft: Draft) -> StepPlan:
        flights, removed = self._flights, self._residents.rows.removed()
        plan, flight = draft.launch(flights.next_step, removed, stateless=self.config.stateless)
        flights.launch(flight)
        for request in draft.ending:
            self._residents.leave(request)
            request.phase = Phase.ENDING
        self._counters.steps += 1
        self._counters.tokens_planned += plan.num_tokens
        return plan

    # ---- its result ------------------------------------------------------------------------------------------------

    def commit(self, result: StepResult) -> list[Delta]:
        """Take the result of the oldest launched step. ValueError if it is of another one; nothing is changed then."""
        flight, requests, deltas = self._flights.land(result), self._requests.by_id, list[Delta]()
        scores, prompts = {at: (score,) for at, score in result.scores}, dict(result.prompt_scores)
        faults, drawn = dict(result.faults), iter(enumerate(result.tokens))
        for id, epoch, row, end, offset, at_limit in flight.rows:
            index, token = next(drawn) if offset >= 0 else (-1, None)
            request = requests.get(id)
            if request is None or request.epoch != epoch:
                self._counters.dropped_late += token is not None
                continue
            request.in_flight -= 1
            request.prompt_scores += prompts.get(row, ())
            if end >= request.seal_at:
                self._residents.seal(request, end)
            finish = FinishReason.ERROR if index in faults else None
            if finish is not None:
                deltas.append(Delta(id, offset, (), finish, faults[index]))
            elif token is not None:
                request.tokens.append(token)
                request.account.drew()
                finish = finish_of(request.sampling, token, offset, at_limit)
                deltas.append(Delta(id, offset, (token,), finish, "", scores.get(index, ()), request.tell_prompt()))
            if finish is not None:
                self._counters.finished += 1
                self._end(request)
            elif request.phase is Phase.PARKED and not request.in_flight:
                self._requeue(request)
        for blocks in flight.holds:
            self._residents.pool.release(blocks)
        self._counters.tokens_committed += len(deltas)
        return deltas

    def _end_as(self, reason: FinishReason, request: Request) -> Delta:
        self._end(request)
        return Delta(request.id, request.offset, (), reason)

    def _end(self, request: Request) -> None:
        phase, request.phase = request.phase, Phase.ENDED
        self._requests.remove(request)
        if phase is Phase.RUNNING:
            self._residents.leave(request)
        elif phase is Phase.WAITING:
            self._counters.departed += not request.began
            self.waiting.husk(request)

    # ---- for people and tests --------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, float | int]:
        """Gauges and counters. `free_blocks` contains `cached_blocks`: free, but with text that can be used again."""
        return {
            "running": len(self._residents.by_rank),
            "waiting": len(self.waiting),
            "waiting_tokens": self.waiting.tokens,
            "held": len(self._requests),
            "in_flight": len(self._flights),
            "num_blocks": self._residents.pool.num_blocks,
            "free_blocks": self._residents.pool.free,
            "cached_blocks": self._residents.pool.kept,
            **asdict(self._counters),
        }

    def check(self) -> None:
        """AssertionError if anything here contradicts anything else. Slow; for tests."""
        for part in (self._residents, self._flights, self.waiting, self._requests):
            part.check()
        launched = Counter((row.id, row.epoch) for flight in self._flights for row in flight.rows)
        held = self._requests.by_id.values()
        for request in held:
            request.check()
            assert request.in_flight == launched[request.id, request.epoch], f"{request.id}: miscounted flights"
        phases = Counter(request.phase for request in held)
        assert phases[Phase.RUNNING] == len(self._residents.by_rank), "somebody runs and is not held, or the reverse"
        assert phases[Phase.WAITING] == len(self.waiting), "somebody waits outside the queue"
        if self.idle and not self._flights:
            assert self._residents.pool.free == self.config.num_blocks, "idle, but blocks are in use"
            assert self._residents.rows.free == self.config.max_num_seqs, "idle, but rows are in use"
