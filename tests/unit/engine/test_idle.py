"""Whatever holds the device up shows as the cause: through the real loop, on a clock of the test's and in real time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from services.engine.core.events import Delta, Event, Submit
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.core.step import StepPlan, StepResult
from services.engine.gaps import Cause
from services.engine.loop import EngineLoop, StepOutput
from services.engine.measures import Measures
from services.engine.steps import StepLane
from services.engine.tracks import Tracks
from services.engine.worker.cost import Card, CostModel
from services.engine.worker.sim import SimWorker
from shared.channel import Channel
from shared.telemetry.metrics import Metrics
from shared.telemetry.recorder import Recorder
from shared.telemetry.spans import Span, now_ns
from shared.types import SamplingParams
from tests.unit.engine.shell_fakes import Countdown, OneAtATime
from tests.unit.engine.test_loop import a_submit

MS = 1_000_000
HOLD_S = 0.06  # on a busy machine a loop is late by less
HOLDS = (Cause.PLAN, Cause.SUBMIT, Cause.BUS, Cause.WORK)


def a_lane(clock_ns: Callable[[], int] = now_ns) -> tuple[StepLane, Recorder]:
    recorder, measures = Recorder("engine"), Measures(Metrics("sluice_engine"))
    return StepLane(recorder, Tracks(recorder, measures, "e.1"), measures, clock_ns=clock_ns), recorder


def steps(recorder: Recorder) -> list[Span]:
    return [span for span in recorder.since(0) if span.name == "step"]


# ---- a clock that moves only when the test says so


class Clock:
    def __init__(self) -> None:
        self.ns = 1_000 * 10**9

    def now_ns(self) -> int:
        return self.ns


class Timed(OneAtATime):
    """Steps of 10 ms, over before anybody looks; submitting one takes 2 ms."""

    def __init__(self, clock: Clock) -> None:
        super().__init__([], automatic=False)
        self.clock, self.free_ns = clock, 0

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        self.clock.ns += 2 * MS
        begun_ns = max(self.free_ns, self.clock.ns)
        self.free_ns = begun_ns + 10 * MS
        self.clock.ns = max(self.clock.ns, self.free_ns)  # the loop sees the end at once
        future: asyncio.Future[StepResult] = asyncio.get_running_loop().create_future()
        future.set_result(StepResult(plan.step, (), begun_ns=begun_ns, ended_ns=self.free_ns))
        return future


class Planner(Countdown):
    """3 ms for a plan, 1 ms for a commit."""

    def __init__(self, clock: Clock) -> None:
        super().__init__([])
        self.clock = clock

    def plan(self, now: float) -> StepPlan | None:
        plan = super().plan(now)
        self.clock.ns += 3 * MS if plan else 0
        return plan

    def commit(self, result: StepResult) -> list[Delta]:
        self.clock.ns += MS
        return super().commit(result)


async def test_the_parts_of_a_gap_are_what_the_loop_spent_to_the_nanosecond() -> None:
    """One step at a time, 1 ms of commit, 3 of plan, 2 of submit: 6 ms of every gap, and none of it is the loop's."""
    clock = Clock()
    lane, recorder = a_lane(clock.now_ns)
    events, outputs = Channel[Event](10), Channel[StepOutput](100)
    loop = EngineLoop(Planner(clock), Timed(clock), events, outputs, overlap=False, lane=lane)
    events.send_nowait(a_submit("a", 4))
    events.close()
    await loop.run()
    told = [span.attributes for span in steps(recorder)]
    assert [one["sluice.idle_us"] for one in told] == [0, 6000, 6000, 6000]
    for one in told[1:]:
        assert (one["sluice.idle.plan_us"], one["sluice.idle.submit_us"]) == (4000, 2000)
        assert (one["sluice.idle_cause"], "sluice.idle.loop_us" in one) == ("plan", False)
        assert (one["sluice.plan_us"], one["sluice.commit_us"], one["sluice.device_us"]) == (3000, 1000, 10_000)


# ---- in real time


def sim() -> SimWorker:
    card = Card(bandwidth=1.0, flops=1.0, memory=1.0, overhead_s=0.002)
    cost = CostModel(card=card, body=0, head=0, attention=0, kv_bytes=0, itemsize=2)
    words = range(100, 200)
    return SimWorker(
        cost, words, num_blocks=64, max_model_len=256, vocab_size=256, max_num_seqs=8, max_batched_tokens=64
    )


def held_up(verb: Callable[..., object]) -> Callable[..., object]:
    """The same, HOLD_S later: longer than any step, so that overlap does not hide it."""

    def slow(*arguments: object) -> object:
        time.sleep(HOLD_S)
        return verb(*arguments)

    return slow


@pytest.mark.parametrize("cause", HOLDS)
async def test_whatever_holds_a_simulated_card_up_is_named(cause: Cause, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, (lane, recorder) = sim(), a_lane()
    scheduler = Scheduler(SchedulerConfig(num_blocks=64, max_num_seqs=8, max_batched_tokens=64, max_model_len=256))
    if cause is Cause.PLAN:
        monkeypatch.setattr(scheduler, "plan", held_up(scheduler.plan))
    if cause is Cause.SUBMIT:
        monkeypatch.setattr(worker, "submit", held_up(worker.submit))
    events, outputs = Channel[Event](10), Channel[StepOutput](1 if cause is Cause.BUS else 1_000)
    loop = EngineLoop(scheduler, worker, events, outputs, lane=lane)
    sampling = SamplingParams(max_tokens=6)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(loop.run())
        for number in range(2):
            events.send_nowait(Submit(id=f"{number}", parent_id="p", prompt=(1, 2, 3), sampling=sampling))
            while len(steps(recorder)) < 6 * (number + 1):
                await asyncio.sleep(HOLD_S if cause is Cause.BUS else 0.001)  # the bus takes one output in that time
                if cause is Cause.BUS and len(outputs):
                    outputs.receive_nowait()
            if cause is Cause.WORK:
                await asyncio.sleep(HOLD_S)
        events.close()
        outputs.drain()
    gaps = sorted((span.attributes for span in steps(recorder)), key=lambda one: int(str(one["sluice.idle_us"])))
    assert int(str(gaps[-1]["sluice.idle_us"])) > 5000 and gaps[-1]["sluice.idle_cause"] == cause, gaps[-1]
    if cause is not Cause.WORK:
        assert gaps[len(gaps) // 2]["sluice.idle_cause"] == cause, gaps
