"""What a shard's owner may rely on: it alone settles and moves; who is ended writes no more (PROTOCOL 3, 5-7, 13)."""

from dataclasses import replace

import pytest

from shared.bus import ZERO, Bus, Fenced, Moved, Retired, Settled, StreamId
from shared.messages import (
    EngineStatus,
    Outcome,
    Tokens,
    Tombstone,
)
from shared.types import FinishReason
from tests.bus.cases import a_request, an_executor, given_out


async def test_a_shard_is_owned_before_any_engine_was_seen(bus: Bus) -> None:
    """An owner looks before it claims, also at a bus that nobody has used; what waits there was given to nobody."""
    seen = await bus.snapshot(0)
    assert not (seen.version.nonce or seen.entries or seen.pending or seen.executors) and seen.complete
    assert set(seen.delivered.values()) == {ZERO}
    await bus.submit("early", [a_request("early")])
    version = await bus.claim(0, "me")
    seen = await bus.snapshot(0)
    assert seen.version == version and [one.id for one in seen.entries.values()] == ["early.0"] and not seen.pending


async def test_settling_takes_the_request_out_and_leaves_its_outcome(bus: Bus) -> None:
    executor = await an_executor(bus)
    await bus.submit("p", [a_request()])
    [delivery] = await bus.take(executor, 1, 1.0)
    version = await bus.claim(0, "me")
    outcome = Outcome(delivery.request, FinishReason.LENGTH, "all of it 🐝")
    await bus.settle(0, version, [Settled(delivery.entry, outcome)])
    assert not (await bus.snapshot(0)).entries
    assert await bus.outcome("p.0") == outcome
    assert await bus.outcome("unknown") is None


async def test_settling_moves_the_version_and_may_be_repeated(bus: Bus) -> None:
    executor = await an_executor(bus)
    await bus.submit("p", [a_request()])
    [delivery] = await bus.take(executor, 1, 1.0)
    version = await bus.claim(0, "me")
    settled = [Settled(delivery.entry, Outcome(delivery.request, FinishReason.STOP, ""))]
    after = await bus.settle(0, version, settled)
    assert after.nonce == "me" and after.counter == version.counter + 1
    assert await bus.settle(0, after, settled) != after


async def test_after_a_lost_reply_the_same_transaction_changes_nothing(bus: Bus) -> None:
    """It is asked for with the same version again: nothing is queued twice."""
    executor = await an_executor(bus)
    delivery, version = await given_out(bus, executor)
    moved = [Moved(delivery.entry, replace(delivery.request, attempt=1))]
    after = await bus.move(0, version, moved)
    assert await bus.move(0, version, moved) == after
    [(entry, request)] = (await bus.snapshot(0)).entries.items()
    settled = [Settled(entry, Outcome(request, FinishReason.STOP, ""))]
    assert await bus.settle(0, after, settled) == await bus.settle(0, after, settled)
    assert not (await bus.snapshot(0)).entries


async def test_who_lost_the_shard_settles_nothing(bus: Bus) -> None:
    executor = await an_executor(bus)
    await bus.submit("p", [a_request()])
    [delivery] = await bus.take(executor, 1, 1.0)
    old = await bus.claim(0, "old")
    await bus.claim(0, "new")
    with pytest.raises(Retired):
        await bus.settle(0, old, [Settled(delivery.entry, Outcome(delivery.request, FinishReason.STOP, ""))])
    assert len((await bus.snapshot(0)).entries) == 1
    assert await bus.outcome("p.0") is None


async def test_a_snapshot_shows_this_shard_only(bus: Bus) -> None:
    executor = await an_executor(bus, shards=2)
    await bus.submit("a", [a_request("a", shard=0)])
    await bus.submit("b", [a_request("b", shard=1)])
    await bus.claim(1, "me")
    snapshot = await bus.snapshot(1)
    assert [r.parent_id for r in snapshot.entries.values()] == ["b"]
    assert snapshot.version == ("me", 0)
    assert str(executor) in snapshot.executors and str(executor) not in snapshot.leases
    await bus.announce_engine(EngineStatus(name=str(executor), state="ready"), 60_000)
    assert str(executor) in (await bus.snapshot(1)).leases


async def test_trimming_keeps_what_is_not_below(bus: Bus) -> None:
    executor = await an_executor(bus)
    for step in (1, 2, 3):
        await bus.append(executor, 0, step, [Tokens("p.0", 0, step, (7,))])
    await bus.trim(0, {str(executor): StreamId(executor.boot, 3)})
    steps, _ = await bus.read(0, {str(executor): ZERO}, await bus.control_end(), 0.0)
    assert [s.id.minor for s in steps] == [3]


async def test_a_snapshot_tells_who_has_what(bus: Bus) -> None:
    executor = await an_executor(bus)
    delivery, _ = await given_out(bus, executor)
    await bus.submit("queued", [a_request("queued")])
    snapshot = await bus.snapshot(0)
    assert snapshot.pending == {delivery.entry: str(executor)}
    assert len(snapshot.entries) == 2


async def test_a_moved_request_is_taken_by_another_executor_with_what_was_accepted(bus: Bus) -> None:
    """One transaction takes the old entry out and queues the request again: it is never there twice, or not at all."""
    dead, alive = await an_executor(bus, "dead"), await an_executor(bus, "alive")
    delivery, version = await given_out(bus, dead)
    again = replace(delivery.request, attempt=1, output=(7, 8))
    await bus.move(0, version, [Moved(delivery.entry, again)])
    assert await bus.held(dead) == []
    assert [d.request for d in await bus.take(alive, 5, 1.0)] == [again]
    assert len((await bus.snapshot(0)).entries) == 1


async def test_who_lost_the_shard_moves_nothing(bus: Bus) -> None:
    executor = await an_executor(bus)
    delivery, old = await given_out(bus, executor)
    await bus.claim(0, "new")
    with pytest.raises(Retired):
        await bus.move(0, old, [Moved(delivery.entry, delivery.request)])
    assert [d.entry for d in await bus.held(executor)] == [delivery.entry]


async def test_a_fenced_executor_writes_no_more_and_its_last_words_are_read(bus: Bus) -> None:
    """What it wrote before the fence counts; a zombie that wakes up behind it is told so."""
    executor = await an_executor(bus)
    await bus.append(executor, 0, 1, [Tokens("p.0", 0, 0, (7,))])
    marker = await bus.fence(str(executor), 0)
    assert marker == StreamId(executor.boot + 1, 0) == await bus.fence(str(executor), 0)
    with pytest.raises(Fenced):
        await bus.append(executor, 0, 2, [Tokens("p.0", 0, 1, (8,))])
    steps, _ = await bus.read(0, {str(executor): StreamId(executor.boot, 0)}, await bus.control_end(), 0.0)
    assert [step.records for step in steps] == [(Tokens("p.0", 0, 0, (7,)),), (Tombstone(False),)]


async def test_an_executor_that_leaves_says_so_itself_and_has_no_lease(bus: Bus) -> None:
    executor = await an_executor(bus)
    await bus.announce_engine(EngineStatus(name=str(executor), state="ready"), 60_000)
    await bus.leave(executor, 1)
    assert await bus.engines() == []
    steps, _ = await bus.read(0, {str(executor): StreamId(executor.boot, 0)}, await bus.control_end(), 0.0)
    assert steps[-1].records == (Tombstone(True),)
    assert await bus.fence(str(executor), 0) == steps[-1].id  # it is fenced already
    with pytest.raises(Fenced):
        await bus.append(executor, 0, 1, [])


async def test_a_buried_executor_is_forgotten_with_its_last_shard(bus: Bus) -> None:
    executor = await an_executor(bus, shards=2)
    await bus.fence(str(executor), 0)
    await bus.bury(str(executor), 0, 2)
    assert str(executor) in (await bus.snapshot(1)).executors
    await bus.bury(str(executor), 1, 2)
    assert str(executor) not in (await bus.snapshot(1)).executors
    assert await bus.fence(str(executor), 1) is None


async def test_a_shard_can_be_owned_before_any_engine_was_born(bus: Bus) -> None:
    await bus.submit("early", [a_request("early")])
    await bus.claim(0, "me")
    snapshot = await bus.snapshot(0)
    assert [r.parent_id for r in snapshot.entries.values()] == ["early"] and not snapshot.pending
