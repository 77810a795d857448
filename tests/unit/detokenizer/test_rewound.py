"""The bus came back, with all it knew or without its end (PROTOCOL 10): no token is lost and none comes twice."""

import asyncio

import pytest

from shared.bus import Retired
from shared.memory_bus import MemoryBus
from shared.messages import Started
from shared.types import FinishReason
from tests.unit.detokenizer.cases import deltas, finished, ids, request, tokens
from tests.unit.detokenizer.world import SHARD, TEXT, Detokenizer, Engine, answered, entries, shown, until

IDS = ids(TEXT)


async def taken(engine: Engine) -> Started:
    """What the owner has queued again."""
    async with asyncio.timeout(5):
        while not (found := await engine.take()):
            await asyncio.sleep(0)
    assert len(found) == 1
    return found[0]


async def finish(engine: Engine, again: Started) -> None:
    offset = len(again.request.output)
    await engine.write(again, tokens(again.request, offset, IDS[offset:]))
    await engine.write(finished(again.request, len(IDS), FinishReason.LENGTH))


async def until_claimed_again(bus: MemoryBus, detokenizer: Detokenizer) -> None:
    detokenizer.owner.look()
    async with asyncio.timeout(5):
        while (await bus.snapshot(SHARD)).version.nonce != "first.2":
            await asyncio.sleep(0)
    await detokenizer.owner.tend()


@pytest.mark.parametrize("older", [False, True], ids=["intact", "older"])
async def test_what_was_shown_is_not_generated_again_and_what_follows_is_shown_once(older: bool) -> None:
    """Whatever Redis has forgotten, the owner queues the request again with all it has accepted."""
    bus, one = MemoryBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    before = bus.saved()
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect()
        await engine.write(*await engine.take(), tokens(one, 0, IDS[:5]))
        await until(lambda: detokenizer.sessions.statistics()["tokens"] == 5)
        bus.restart(before if older else None)
        await until_claimed_again(bus, detokenizer)
        second = await Engine.born(bus)
        again = await taken(second)
        assert again.request.output == IDS[:5]
        assert again.request.prompt == one.prompt
        assert again.request.deaths == 0
        await finish(second, again)
        await until(gateway.has_all)
        await answered(bus)
        assert deltas(shown(gateway.frames)) == {0: TEXT}
        await until(lambda: detokenizer.sessions.unsettled() == [])
        await detokenizer.owner.tend()
        assert await entries(bus) == 0


async def test_a_request_that_an_older_bus_gives_out_again_is_not_stuck_with_its_old_engine() -> None:
    """It had started and brought nothing: whoever takes it now is believed, as it is a newer attempt."""
    bus, one = MemoryBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    before = bus.saved()
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect()
        await engine.write(*await engine.take())
        await until(lambda: detokenizer.sessions.statistics()["sessions"] == 1)
        bus.restart(before)
        second = await Engine.born(bus)
        early = (await second.take())[0]  # before the owner has noticed anything
        await until_claimed_again(bus, detokenizer)
        again = await taken(second)
        assert again.request.attempt > early.request.attempt
        await finish(second, again)
        await until(gateway.has_all)
        assert deltas(shown(gateway.frames)) == {0: TEXT}


async def test_an_outcome_that_was_forgotten_is_written_again_and_its_request_does_not_run_again() -> None:
    bus, one = MemoryBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus).running() as detokenizer:
        await engine.write(*await engine.take())
        before = bus.saved()
        await engine.write(tokens(one, 0, IDS), finished(one, len(IDS), FinishReason.LENGTH))
        await answered(bus)
        await until(lambda: detokenizer.sessions.unsettled() == [])
        bus.restart(before)
        assert await bus.outcome("p.0") is None
        await until_claimed_again(bus, detokenizer)
        await answered(bus)
        await until(lambda: detokenizer.sessions.unsettled() == [])
        await detokenizer.owner.tend()
        assert await entries(bus) == 0


async def test_a_request_that_an_empty_bus_has_forgotten_goes_on_when_its_gateway_submits_it_again() -> None:
    """Nobody is told that it is gone; and though it is submitted without a token, it goes on behind those shown."""
    bus, one = MemoryBus(), request()
    empty = bus.saved()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect(p="", queued="")
        await bus.submit("queued", [request("queued")])
        await engine.write((await engine.take())[0], tokens(one, 0, IDS[:5]))
        await until(lambda: detokenizer.sessions.statistics()["tokens"] == 5)
        bus.restart(empty)
        await until_claimed_again(bus, detokenizer)
        await detokenizer.owner.tend()
        assert gateway.read("queued") == [] and not gateway.has_all("p")
        await bus.submit("p", [one])
        await detokenizer.owner.tend()
        second = await Engine.born(bus)
        again = await taken(second)
        assert again.request.output == IDS[:5]
        await finish(second, again)
        await until(gateway.has_all)
        assert deltas(shown(gateway.frames)) == {0: TEXT}


async def test_of_two_entries_of_one_request_one_runs() -> None:
    """As when a gateway submits again what is there: the newest attempt stays, and of equal ones what runs."""
    bus, one = MemoryBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus).running() as detokenizer:
        [started] = await engine.take()
        await engine.write(started, tokens(one, 0, IDS[:2]))
        await until(lambda: detokenizer.sessions.statistics()["tokens"] == 2)
        await bus.submit("again", [one])
        await detokenizer.owner.tend()
        left = (await bus.snapshot(SHARD)).entries
        assert [str(entry.id) for entry in left] == [started.entry]


async def test_an_entry_that_a_deleted_consumer_had_is_queued_again() -> None:
    """Redis drops what was pending there: it was given out and nobody has it (PROTOCOL 9)."""

    class Careless(MemoryBus):
        def delete_consumers(self) -> None:
            self._pending.clear()

    bus = Careless()
    engine = await Engine.born(bus)
    await bus.submit("p", [request()])
    await engine.take()
    bus.delete_consumers()
    async with Detokenizer(bus).running():
        again = await taken(await Engine.born(bus))
        assert (again.request.attempt, again.request.deaths) == (1, 0)


async def test_who_lost_the_shard_does_not_take_it_back_without_a_restart_of_the_bus() -> None:
    bus = MemoryBus()
    with pytest.raises(ExceptionGroup) as ended:
        async with Detokenizer(bus).running() as detokenizer:
            await bus.claim(SHARD, "another")
            detokenizer.owner.look()
            await asyncio.sleep(5)
    assert ended.group_contains(Retired)
    assert (await bus.snapshot(SHARD)).version.nonce == "another"


async def test_what_an_engine_starts_on_a_bus_that_has_forgotten_it_does_not_hold_its_successor_up() -> None:
    """It had taken the request before, and has not noticed yet; then the gateway submits it again, elsewhere."""
    bus, one = MemoryBus(), request()
    zombie = await Engine.born(bus)
    before = bus.saved()
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect(p="")
        await bus.submit("p", [one])
        [forgotten] = await zombie.take()
        bus.restart(before)
        await until_claimed_again(bus, detokenizer)
        await zombie.write(forgotten, tokens(one, 0, IDS[:2]))
        await until(lambda: detokenizer.sessions.statistics()["tokens"] == 2)
        await bus.submit("p", [one])
        second = await Engine.born(bus)
        early = await taken(second)
        await second.write(early, tokens(one, 0, IDS[:1]))
        await detokenizer.owner.tend()
        again = await taken(second)
        assert (again.request.attempt, again.request.output) == (1, IDS[:2])
        await finish(second, again)
        await until(gateway.has_all)
        assert deltas(shown(gateway.frames)) == {0: TEXT}


async def test_a_new_owner_of_a_bus_that_was_just_started_says_of_nothing_that_it_is_gone() -> None:
    """Its predecessor died with the bus: what is unknown may be submitted again by its gateway."""
    bus = MemoryBus()
    async with Detokenizer(bus).running():
        pass
    bus.restart()
    async with Detokenizer(bus, "second").running() as detokenizer:
        gateway = detokenizer.connect(p="")
        await detokenizer.owner.tend()
        await detokenizer.owner.tend()
        assert gateway.read() == []


async def test_what_is_adrift_keeps_its_start_until_it_is_queued_again() -> None:
    """An owner that is killed between the restart of the bus and that has trimmed nothing which its successor needs."""
    bus, one = MemoryBus(), request()
    empty = bus.saved()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus).running() as detokenizer:
        await engine.write(*await engine.take())
        for offset in range(5):
            await engine.write(tokens(one, offset, IDS[offset : offset + 1]))
        await until(lambda: detokenizer.sessions.statistics()["tokens"] == 5)
        kept = len(bus._streams[str(engine.executor), SHARD].entries)
        streams = bus.saved()["_streams"]
        assert kept >= 6
        bus.restart(empty | {"_streams": streams, "_executors": {str(engine.executor)}})  # its entry is not back yet
        await until_claimed_again(bus, detokenizer)
        await until(lambda: len(detokenizer.owner._streams.known()) == 1)
        await engine.write(tokens(one, 5, IDS[5:6]))
        await until(lambda: detokenizer.owner._streams.known()[str(engine.executor)].minor == 7)
        await detokenizer.owner.tend()
        left = bus._streams[str(engine.executor), SHARD].entries
        assert any(isinstance(record, Started) for records in left.values() for record in records)


@pytest.mark.parametrize("moments", range(30))
async def test_an_owner_that_is_told_to_go_while_the_bus_starts_anew_goes(moments: int) -> None:
    """SIGTERM at whatever moment: what fails then does not hide it."""
    bus = MemoryBus()
    detokenizer = Detokenizer(bus)
    task = asyncio.create_task(detokenizer.owner.run())  # noqa: TID251  # it is cancelled here
    await until(lambda: detokenizer.owner.ready)
    bus.restart()
    detokenizer.owner.look()
    for _ in range(moments):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.done(), "it lives on"
    assert task.cancelled(), "it did not leave, but broke"
