"""What becomes of the requests of an engine that died, left, or only seems to live (PROTOCOL 6, 7, 11)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from services.detokenizer.undertaker import JUDGE_S, MOST_DEATHS
from shared.bus import Executor, Fenced
from shared.memory_bus import MemoryBus
from shared.messages import EngineStatus, Started
from shared.types import FinishReason
from tests.unit.detokenizer.cases import finished, ids, request, tokens
from tests.unit.detokenizer.world import Detokenizer, Engine, answered, entries, shown, until

TEXT = "The river says nothing."
IDS = ids(TEXT)


class World:
    """A bus and a detokenizer whose clocks the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.bus = MemoryBus(lambda: int(self.seconds * 1000))
        self.detokenizer = Detokenizer(self.bus, now_s=lambda: self.seconds)

    async def kill(self, engine: Engine) -> None:
        """It writes and renews no more: its lease runs out."""
        await self.bus.announce_engine(EngineStatus(name=str(engine.executor), state="ready"), 0)

    async def tend_after(self, seconds: float = JUDGE_S) -> None:
        self.seconds += seconds
        await self.detokenizer.owner.tend()

    async def take(self, engine: Engine, count: int = 1) -> list[Started]:
        taken: list[Started] = []
        async with asyncio.timeout(5):
            while len(taken) < count:
                await asyncio.sleep(0)  # the owner runs
                taken += await engine.take()
        return taken


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    world = World()
    async with world.detokenizer.running():
        yield world


async def test_a_request_goes_on_where_its_dead_engine_stopped() -> None:
    """The client sees one text, without a seam; the second engine is given what was accepted and no more."""
    async with a_world() as world:
        gateway, one = world.detokenizer.connect(), request()
        first = await Engine.born(world.bus)
        await world.bus.submit("p", [one])
        await first.write(*await world.take(first), tokens(one, 0, IDS[:2]))
        await first.write(tokens(one, 2, IDS[2:3]))
        await world.kill(first)
        await world.tend_after()
        second = await Engine.born(world.bus)
        [again] = await world.take(second)
        assert (again.request.attempt, again.request.deaths, again.request.output) == (1, 1, IDS[:3])
        assert again.request.prompt == one.prompt
        await second.write(again, tokens(again.request, 3, IDS[3:]))
        await second.write(finished(again.request, len(IDS), FinishReason.LENGTH))
        await until(gateway.has_all)
        await answered(world.bus)
        outcome = await world.bus.outcome("p.0")
        assert outcome is not None and outcome.text == TEXT and outcome.request.output == IDS
        assert shown(gateway.frames).count("[DONE]") == 1


async def test_a_zombie_writes_nothing_that_counts() -> None:
    """It was paused, not dead: its next word is refused by the bus, and what it would have said is not missed."""
    async with a_world() as world:
        one, zombie = request(), await Engine.born(world.bus)
        await world.bus.submit("p", [one])
        await zombie.write(*await world.take(zombie), tokens(one, 0, IDS[:1]))
        await world.kill(zombie)
        await world.tend_after()
        with pytest.raises(Fenced):
            await zombie.write(tokens(one, 1, IDS[1:2]))
        [again] = await world.take(await Engine.born(world.bus))
        assert again.request.output == IDS[:1]


async def test_who_leaves_hands_over_at_once_and_counts_no_death() -> None:
    async with a_world() as world:
        one, engine = request(), await Engine.born(world.bus)
        await world.bus.submit("p", [one])
        await engine.write(*await world.take(engine), tokens(one, 0, IDS[:2]))
        await world.bus.leave(engine.executor, 1)
        [again] = await world.take(await Engine.born(world.bus))
        assert (again.request.attempt, again.request.deaths, again.request.output) == (1, 0, IDS[:2])


async def test_a_request_that_waited_in_a_dead_engine_is_not_to_blame() -> None:
    """Deaths count after Started only."""
    async with a_world() as world:
        engine = await Engine.born(world.bus)
        await world.bus.submit("p", [request()])
        await world.take(engine)
        await world.kill(engine)
        await world.tend_after()
        [again] = await world.take(await Engine.born(world.bus))
        assert (again.request.attempt, again.request.deaths, again.request.output) == (1, 0, ())


async def test_nobody_is_judged_by_an_owner_that_was_cut_off_itself() -> None:
    """A missing lease may be our own blindness: only an unbroken connection of JUDGE_S makes a judge."""
    async with a_world() as world:
        engine = await Engine.born(world.bus)
        await world.bus.submit("p", [request()])
        await world.take(engine)
        await world.kill(engine)
        await world.tend_after(JUDGE_S / 2)
        assert len(await world.bus.held(engine.executor)) == 1
        await world.tend_after(JUDGE_S / 2)
        assert await world.bus.held(engine.executor) == []


async def test_a_request_that_ended_is_settled_and_not_run_again() -> None:
    """The engine died after its last word: nothing moves."""
    async with a_world() as world:
        one, engine = request(), await Engine.born(world.bus)
        await world.bus.submit("p", [one])
        last = finished(one, len(IDS), FinishReason.LENGTH)
        await engine.write(*await world.take(engine), tokens(one, 0, IDS), last)
        await world.kill(engine)
        await answered(world.bus)
        await world.tend_after()
        assert await entries(world.bus) == 0
        assert world.detokenizer.owner.statistics()["undertaker"] == {"moved": 0, "fenced": 1, "dead": 0}


async def test_what_kills_every_engine_fails_and_only_that() -> None:
    """After MOST_DEATHS deaths one more ends it with an error; a request beside it goes on."""
    async with a_world() as world:
        gateway = world.detokenizer.connect()
        await world.bus.submit("poison", [request("poison")])
        for deaths in range(MOST_DEATHS + 1):
            engine = await Engine.born(world.bus)
            [started] = await world.take(engine)
            assert started.request.deaths == deaths
            await engine.write(started)
            await world.kill(engine)
            await world.tend_after()
        await until(lambda: gateway.has_all("poison"))
        outcome = await world.bus.outcome("poison.0")
        assert outcome is not None and outcome.reason is FinishReason.ERROR
        assert await entries(world.bus) == 0


async def test_a_dead_engine_is_forgotten_once_nothing_refers_to_it() -> None:
    async with a_world() as world:
        one, engine = request(), await Engine.born(world.bus)
        await world.bus.submit("p", [one])
        await engine.write(*await world.take(engine), tokens(one, 0, IDS[:1]))
        await world.kill(engine)
        await world.tend_after()
        await world.tend_after()
        snapshot = await world.bus.snapshot(0)
        assert str(engine.executor) not in snapshot.executors
        assert world.bus.statistics()["token_entries"] == 0
        assert world.detokenizer.owner.statistics()["streams"] == 0


async def test_an_engine_that_never_was_born_is_forgotten_too() -> None:
    """It announced that it loads, and died."""
    async with a_world() as world:
        name = str(Executor("loading", 5))
        await world.bus.announce_engine(EngineStatus(name=name, state="loading"), 0)
        await world.tend_after()
        assert name not in (await world.bus.snapshot(0)).executors


async def test_births_of_long_ago_are_not_read_about() -> None:
    """The control stream tells a new owner of every executor there was; only those that still are stay with it."""
    bus = MemoryBus()
    for _ in range(3):
        engine = await Engine.born(bus)
        await bus.bury(str(engine.executor), 0, 1)
    living = await Engine.born(bus)
    async with Detokenizer(bus).running() as detokenizer:
        await until(lambda: detokenizer.owner.statistics()["streams"] == 4)
        await detokenizer.owner.tend()
        assert detokenizer.owner.statistics()["streams"] == 1
        assert str(living.executor) in (await bus.snapshot(0)).executors


async def test_a_move_never_forgets_what_an_earlier_move_had_carried() -> None:
    """A new owner has read only part of what the first engine wrote; the entry knows better, and so do clients."""
    async with a_world() as world:
        first, second = await Engine.born(world.bus), await Engine.born(world.bus)
        one = request()
        await first.write(Started("1-0", one), tokens(one, 0, IDS[:1]))
        await until(lambda: world.detokenizer.sessions.statistics()["tokens"] == 1)
        await world.bus.submit("p", [replace(one, attempt=1, output=IDS[:3])])
        await world.take(second)
        await world.bus.leave(second.executor, 1)
        [again] = await world.take(await Engine.born(world.bus))
        assert (again.request.attempt, again.request.output) == (2, IDS[:3])


async def test_an_entry_of_a_request_that_is_settled_is_settled_too() -> None:
    """Wherever it comes from, nobody runs it again (PROTOCOL 9)."""
    async with a_world() as world:
        one, engine = request(), await Engine.born(world.bus)
        await world.bus.submit("p", [one])
        await engine.write(*await world.take(engine), finished(one, 0, FinishReason.LENGTH))
        await until(lambda: world.detokenizer.owner.statistics()["settled"] == 1)
        await world.bus.submit("a second entry", [one])
        assert await entries(world.bus) == 1
        await world.detokenizer.owner.tend()
        assert await entries(world.bus) == 0


async def test_a_request_that_goes_on_in_every_life_is_no_poison() -> None:
    """A long answer may outlive any number of engines: each new token clears the count of deaths (PROTOCOL 11)."""
    async with a_world() as world:
        await world.bus.submit("p", [request()])
        for offset in range(MOST_DEATHS + 2):
            engine = await Engine.born(world.bus)
            [started] = await world.take(engine)
            assert started.request.output == IDS[:offset]
            assert started.request.deaths == min(offset, 1)
            await engine.write(started, tokens(started.request, offset, IDS[offset : offset + 1]))
            await world.kill(engine)
            await world.tend_after()
