"""Requests that end from outside: cancelled in the queue, or read by nobody for too long."""

import time
from dataclasses import replace

import pytest

from services.detokenizer.cancels import UNREAD
from services.detokenizer.sessions import News
from shared.bus import ZERO
from shared.memory_bus import MemoryBus
from shared.messages import Cancel
from shared.types import FinishReason
from tests.unit.detokenizer.cases import finished, ids, request, spec, tokens
from tests.unit.detokenizer.test_owner import _counts
from tests.unit.detokenizer.world import Detokenizer, Engine, answered, entries, until


async def test_what_is_cancelled_in_the_queue_ends_there() -> None:
    """No engine need ever come: its reader gets the end, the entry is gone, and so it is for one that moves on."""
    bus = MemoryBus()
    await bus.submit("p", [request(index=i, render=spec(choices=2)) for i in range(2)])
    await bus.submit("q", [replace(request(), id="q.0", parent_id="q", output=(1, 2), attempt=1)])
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect(p="", q="")
        await bus.cancel("p", "client")
        await bus.cancel("q.0", "client")
        await answered(bus, "p.1")
        await answered(bus, "q.0")
        await until(lambda: gateway.has_all("q"))
        assert await entries(bus) == 0
        outcome = await bus.outcome("q.0")
        assert outcome is not None and (outcome.reason, outcome.request.output) == (FinishReason.CANCEL, (1, 2))
        await detokenizer.owner.tend()
        assert _counts(detokenizer)["heard"] == 0


@pytest.mark.parametrize("runs", [False, True], ids=["queued", "running"])
async def test_what_nobody_reads_is_cancelled_once(runs: bool) -> None:
    """In the queue or on an engine, after its own time; said once, however often the shard is looked at."""
    bus, now = MemoryBus(), [time.monotonic()]
    one = replace(request(), unread_s=5.0)
    await bus.submit("p", [one])
    engine = await Engine.born(bus)
    async with Detokenizer(bus, now_s=lambda: now[0]).running() as detokenizer:
        if runs:
            await engine.write(*await engine.take(), tokens(one, 0, ids("s")))
            await until(lambda: detokenizer.sessions.get("p.0") is not None)
        await detokenizer.owner.tend()
        assert _counts(detokenizer)["told"] == 0
        now[0] += 5.0
        await detokenizer.owner.tend()
        await until(lambda: _counts(detokenizer)["heard"] == 1)
        said = [message for _, message in await bus.control(ZERO, 0) if isinstance(message, Cancel)]
        assert said == [Cancel("p", UNREAD)]
        await detokenizer.owner.tend()
        if runs:
            await engine.write(finished(one, 1, FinishReason.CANCEL))
        await answered(bus)
        outcome = await bus.outcome("p.0")
        assert outcome is not None and outcome.reason == FinishReason.CANCEL
        assert len([m for _, m in await bus.control(ZERO, 0) if isinstance(m, Cancel) and m.id == "p"]) == 1


async def test_what_an_engine_takes_while_it_is_withdrawn_is_cancelled_there() -> None:
    """Its `Started` is answered, and what it writes counts for nothing."""
    bus, one = MemoryBus(), request()
    await bus.submit("p", [one])
    engine = await Engine.born(bus)
    async with Detokenizer(bus).running() as detokenizer:
        news = News()
        [entry] = (await bus.snapshot(0)).entries
        taken = await engine.take()
        detokenizer.sessions.withdraw({entry: one}, news)
        [session] = news.ended
        await engine.write(*taken, tokens(one, 0, ids("s")))
        await until(lambda: _counts(detokenizer)["told"] == 1)
        assert (session.end, list(session.ids)) == (FinishReason.CANCEL, [])
