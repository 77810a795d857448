"""The owner of a shard against a bus in memory: a request's whole life, and what deaths and outages may not change."""

import asyncio
import time

import pytest

from services.detokenizer import owner
from services.detokenizer.cancels import STOPPED
from shared.bus import ZERO
from shared.memory_bus import MemoryBus
from shared.messages import Cancel
from shared.types import FinishReason, parent_id
from tests.unit.detokenizer.cases import deltas, finished, ids, request, spec, tokens
from tests.unit.detokenizer.world import TEXT, Detokenizer, Engine, answered, entries, shown, until


async def test_a_request_is_shown_settled_and_trimmed() -> None:
    """The whole life: its gateway reads it as it comes; at the end its outcome is on the bus and nothing else is."""
    bus, one = MemoryBus(), request()
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect()
        engine = await Engine.born(bus)
        await bus.submit("p", [one])
        await engine.write(*await engine.take())
        for offset, token in enumerate(ids(TEXT)):
            await engine.write(tokens(one, offset, [token]))
        await engine.write(finished(one, len(ids(TEXT)), FinishReason.LENGTH))
        await until(gateway.has_all)
        await answered(bus)
        await detokenizer.owner.tend()
        outcome = await bus.outcome("p.0")
        assert outcome is not None
        assert (outcome.text, outcome.reason, outcome.request.output) == (TEXT, FinishReason.LENGTH, ids(TEXT))
        assert await entries(bus) == 0
        assert bus.statistics()["token_entries"] == 1  # the newest stays for its writer
        assert detokenizer.owner.statistics()["settled"] == 1


@pytest.mark.parametrize("seen", [0, 1, 7, len(ids(TEXT))])
async def test_a_restart_in_the_middle_changes_no_byte(seen: int) -> None:
    """The next process reads the streams again; a gateway that says where its client stands gets exactly the rest."""
    bus, one = MemoryBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus).running() as first:
        gateway = first.connect()
        await engine.write(*await engine.take())
        for offset in range(seen):
            await engine.write(tokens(one, offset, ids(TEXT)[offset : offset + 1]))
        await until(lambda: first.sessions.statistics()["tokens"] == seen)
        before = gateway.read()
        await first.owner.tend()
    for offset in range(seen, len(ids(TEXT))):
        await engine.write(tokens(one, offset, ids(TEXT)[offset : offset + 1]))
    async with Detokenizer(bus, "second").running() as second:
        again = second.connect(p=before[-1].cursor if before else "")
        await engine.write(finished(one, len(ids(TEXT)), FinishReason.LENGTH))
        await until(again.has_all)
        whole = second.connect(p="")
        await until(whole.has_all)
    assert deltas(shown(before) + shown(again.frames)) == deltas(shown(whole.frames)) == {0: TEXT}


async def test_an_answer_that_is_settled_is_shown_by_the_next_process() -> None:
    """From its outcome alone, once the streams are trimmed; and resuming behind its end gives [DONE]."""
    bus, two = MemoryBus(), [request(index=i, render=spec(choices=2)) for i in range(2)]
    engine = await Engine.born(bus)
    await bus.submit("p", two)
    async with Detokenizer(bus).running() as first:
        gateway = first.connect()
        await engine.write(*await engine.take())
        for one in two:
            await engine.write(tokens(one, 0, ids("Hi")), finished(one, len(ids("Hi")), FinishReason.LENGTH))
        await until(gateway.has_all)
        await answered(bus, "p.1")
        await first.owner.tend()
        cursor = gateway.read()[-1].cursor
    async with Detokenizer(bus, "second").running() as second:
        late = second.connect(p="")
        await until(late.has_all)
        assert shown(late.frames) == shown(gateway.frames)
        end = second.connect(p=cursor)
        await until(end.has_all)
        assert shown(end.frames) == "data: [DONE]\n\n"


async def test_a_settled_answer_leaves_memory_and_can_still_be_read() -> None:
    """Once it is as old as the owner keeps answers; who asks later is served from the outcome."""
    bus, one = MemoryBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus, keep_s=-1.0).running() as detokenizer:
        await engine.write(*await engine.take(), finished(one, 0, FinishReason.LENGTH))
        await until(lambda: detokenizer.owner.statistics()["settled"] == 1)
        await detokenizer.owner.tend()
        assert detokenizer.sessions.statistics()["sessions"] == 0
        late = detokenizer.connect(p="")
        await until(late.has_all)
        assert shown(late.frames).endswith("[DONE]\n\n")


async def test_a_parent_of_which_one_choice_is_settled_is_completed_from_its_outcome() -> None:
    """After a restart one choice comes from the token stream and the other from the bus's memory."""
    bus, (one, two) = MemoryBus(), [request(index=i, render=spec(choices=2, stream=False)) for i in range(2)]
    engine = await Engine.born(bus)
    await bus.submit("p", [one, two])
    starts = await engine.take()
    async with Detokenizer(bus).running() as first:
        await engine.write(starts[0], tokens(one, 0, ids("Hi")), finished(one, len(ids("Hi")), FinishReason.LENGTH))
        await answered(bus, "p.0")
        await engine.write(starts[1])
        await until(lambda: first.sessions.statistics()["sessions"] == 2)
        await first.owner.tend()
    async with Detokenizer(bus, "second").running() as second:
        gateway = second.connect(p="")
        await engine.write(tokens(two, 0, ids("Ho")), finished(two, len(ids("Ho")), FinishReason.LENGTH))
        await until(gateway.has_all)
    assert '"content":"Hi"' in shown(gateway.frames)
    assert '"content":"Ho"' in shown(gateway.frames)


async def test_a_request_that_nobody_knows_is_not_found() -> None:
    """An unknown id is answered with 404 after one look at the shard, or with 410 if its time has passed, which the id
    tells; a queued one waits."""
    bus = MemoryBus()
    await bus.submit("p", [request()])
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect(p="", q="3")
        await until(lambda: gateway.has_all("q"))
        assert [frame.status for frame in gateway.read("q")] == [404]
        young, old = (parent_id("cmpl", second, "0" * 24) for second in (int(time.time()), int(time.time()) - 600))
        gateway = detokenizer.connect(**{"p": "", young: "", old: "3"})
        await until(lambda: gateway.has_all(young) and gateway.has_all(old))
        assert [frame.status for parent in (young, old) for frame in gateway.read(parent)] == [404, 410]
        assert gateway.read("p") == []
        assert detokenizer.links.wanted() == {"p"}


async def test_a_stop_string_ends_the_request_here_and_on_the_engine() -> None:
    """It is settled with `stop` at once, and a cancel tells the engine, whose further tokens count for nothing."""
    bus, one = MemoryBus(), request(render=spec(stop=("river",), stream=False))
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect()
        await engine.write(*await engine.take())
        await engine.write(tokens(one, 0, ids(TEXT)))
        await answered(bus)
        await until(gateway.has_all)
        messages = await bus.control(ZERO, 5)
        while messages[-1][1] != Cancel("p.0", STOPPED):
            messages = await bus.control(messages[-1][0], 5)
        await engine.write(finished(one, len(ids(TEXT)), FinishReason.CANCEL))
        outcome = await bus.outcome("p.0")
    assert outcome is not None
    assert (outcome.text, outcome.reason) == ("The ", FinishReason.STOP)
    assert '"finish_reason":"stop"' in shown(gateway.frames)


@pytest.mark.parametrize("by", ["started", "look"])
async def test_a_request_that_is_cancelled_before_it_starts_is_cancelled_again(
    by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine that takes it later has not heard of it (PROTOCOL 12): its `Started` is answered, and so is an engine
    that goes on all the same at each look at the shard."""
    monkeypatch.setattr(owner, "TEND_S", 3600.0)
    bus, one = MemoryBus(), request()
    await bus.submit("p", [one])
    engine = await Engine.born(bus)
    taken = await engine.take()
    await bus.cancel("p", "client gone")
    async with Detokenizer(bus).running() as detokenizer:
        await until(lambda: _counts(detokenizer)["heard"] == 1)
        await detokenizer.owner.tend()
        await engine.write(*taken)
        await until(lambda: _counts(detokenizer)["told"] == 1)
        if by == "look":
            await detokenizer.owner.tend()
            await until(lambda: _counts(detokenizer)["told"] == 2)
        assert Cancel("p.0", "client gone") in [message for _, message in await bus.control(ZERO, 0)]
        await engine.write(finished(one, 0, FinishReason.CANCEL))
        await answered(bus)
        await until(lambda: detokenizer.sessions.unsettled() == [])
        await detokenizer.owner.tend()
        await detokenizer.owner.tend()
        assert _counts(detokenizer)["heard"] == 0


async def test_the_shard_is_announced_with_its_url() -> None:
    """Gateways find the owner by its lease; its instance tells a new process from the old one."""
    bus = MemoryBus()
    async with Detokenizer(bus).running() as detokenizer:
        while (await bus.shards(1))[0] is None:
            await asyncio.sleep(0)
        assert await bus.shards(1) == [detokenizer.status]


def _counts(detokenizer: Detokenizer) -> dict[str, int]:
    counts = detokenizer.owner.statistics()["cancels"]
    assert isinstance(counts, dict)
    return counts
