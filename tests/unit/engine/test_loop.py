"""The heartbeat around a scripted scheduler: overlap, order, pressure, failure."""

import asyncio
from collections.abc import Awaitable

import pytest

from services.engine.core.events import Event, Submit
from services.engine.core.step import StepPlan, StepResult
from services.engine.loop import EngineLoop, StepOutput
from shared.channel import Channel
from shared.types import FinishReason, SamplingParams
from tests.unit.engine.shell_fakes import Countdown, OneAtATime


def a_submit(id: str, tokens: int) -> Submit:
    return Submit(id=id, parent_id="p", prompt=(1,), sampling=SamplingParams(max_tokens=tokens))


async def run_loop(overlap: bool, capacity: int = 100) -> tuple[list[str], EngineLoop, list[StepOutput]]:
    log: list[str] = []
    events, outputs = Channel[Event](10), Channel[StepOutput](capacity)
    loop = EngineLoop(Countdown(log), OneAtATime(log), events, outputs, overlap=overlap)
    events.send_nowait(a_submit("a", 3))
    events.close()
    await loop.run()
    return log, loop, [output async for output in outputs]


async def test_the_next_step_is_planned_while_one_runs() -> None:
    log, loop, _ = await run_loop(overlap=True)
    assert log.index("plan 2") < log.index("end 1") and log.index("plan 3") < log.index("end 2")
    assert log.index("plan 1") < log.index("plan 2") < log.index("end 1")
    assert loop.statistics() == {"steps": 3, "overlapped": 2}


async def test_without_overlap_a_step_ends_before_the_next_is_planned() -> None:
    log, loop, _ = await run_loop(overlap=False)
    assert log.index("commit 1") < log.index("plan 2")
    assert loop.statistics() == {"steps": 3, "overlapped": 0}


async def test_both_ways_tell_the_same_story() -> None:
    """Each token once, the start before all, the end with the last."""
    for overlap in (True, False):
        _, _, outputs = await run_loop(overlap)
        assert outputs[0] == StepOutput(("a",), ())
        deltas = [delta for output in outputs for delta in output.deltas]
        assert [(d.offset, d.ids, d.finish) for d in deltas] == [
            (0, (100,), None),
            (1, (101,), None),
            (2, (102,), FinishReason.LENGTH),
        ]


async def test_a_full_outbox_makes_the_loop_wait() -> None:
    """Pressure: a slow bus slows the device instead of filling memory."""
    log: list[str] = []
    events, outputs = Channel[Event](10), Channel[StepOutput](1)
    loop = EngineLoop(Countdown(log), OneAtATime(log), events, outputs)
    events.send_nowait(a_submit("a", 50))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run())
        for _ in range(200):
            await asyncio.sleep(0)
        assert loop.statistics()["steps"] <= 4
        events.close()
        received = [output async for output in outputs]
    assert running.done() and sum(len(o.deltas) for o in received) == 50


async def test_a_step_that_fails_ends_the_engine_with_its_error() -> None:
    log: list[str] = []
    events, outputs = Channel[Event](10), Channel[StepOutput](10)
    worker = OneAtATime(log, automatic=False)
    loop = EngineLoop(Countdown(log), worker, events, outputs)
    events.send_nowait(a_submit("a", 5))
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(loop.run())
            for _ in range(5):
                await asyncio.sleep(0)
            worker.waiting[0][1].set_exception(RuntimeError("out of memory"))
    assert "out of memory" in str(caught.value.exceptions[0])


async def test_who_begins_is_told_before_the_step_is_submitted() -> None:
    """If that breaks the engine, it is known who ran in it (PROTOCOL 2)."""

    class Breaks(OneAtATime):
        def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
            raise ValueError("no step")

    log: list[str] = []
    events, outputs = Channel[Event](10), Channel[StepOutput](10)
    events.send_nowait(a_submit("a", 3))
    with pytest.raises(ValueError, match="no step"):
        await EngineLoop(Countdown(log), Breaks(log), events, outputs).run()
    assert outputs.drain() == [StepOutput(("a",), ())]
