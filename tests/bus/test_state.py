"""What an owner sees of its shard, page by page, and what it keeps there (PROTOCOL 9, 10, 11, 13)."""

from dataclasses import replace

from shared.bus import PAGE, ZERO, Bus, Entry, Moved, Settled, StreamId
from shared.messages import Checkpoint, Outcome, Started
from shared.types import FinishReason
from tests.bus.cases import a_request, an_executor, given_out


def a_checkpoint(id: str = "p.0", output: tuple[int, ...] = (7, 8)) -> Checkpoint:
    return Checkpoint("e.1", "1-2000", Started("5-0", replace(a_request(id.partition(".")[0]), id=id, output=output)))


async def test_a_long_queue_is_read_in_pages_and_each_entry_once(bus: Bus) -> None:
    await an_executor(bus)
    many = PAGE + 10
    for index in range(many):
        await bus.submit(f"p{index}", [a_request(f"p{index}", shard=index % 2)])
    first = await bus.snapshot(0)
    assert not first.complete
    second = await bus.snapshot(0, first.read)
    assert second.complete
    third = await bus.snapshot(0, second.read)
    assert third.complete and not third.entries and third.read == second.read
    parents = [request.parent_id for page in (first, second) for request in page.entries.values()]
    assert parents == [f"p{index}" for index in range(0, many, 2)]
    await bus.submit("new", [a_request("new")])
    assert [request.parent_id for request in (await bus.snapshot(0, third.read)).entries.values()] == ["new"]


async def test_a_snapshot_tells_up_to_where_entries_were_given_out(bus: Bus) -> None:
    """So an entry that was given out and that nobody holds can be told from one that waits."""
    executor = await an_executor(bus)
    assert (await bus.snapshot(0)).delivered == {"interactive": ZERO, "batch": ZERO}
    await bus.submit("p", [a_request("p", 0), a_request("p", 1)])
    [one] = await bus.take(executor, 1, 1.0)
    snapshot = await bus.snapshot(0)
    assert snapshot.delivered["interactive"] == one.entry.id
    waiting = [entry for entry in snapshot.entries if entry.id > snapshot.delivered[entry.lane]]
    assert len(waiting) == 1 and waiting != [one.entry]


async def test_entries_are_read_whole_where_they_lie(bus: Bus) -> None:
    executor = await an_executor(bus)
    delivery, _ = await given_out(bus, executor)
    gone = Entry("batch", StreamId(1, 0))
    assert await bus.requests([gone, delivery.entry]) == {delivery.entry: delivery.request}
    assert await bus.requests([]) == {}


async def test_an_entry_that_has_a_successor_is_dropped_in_the_same_transaction(bus: Bus) -> None:
    executor = await an_executor(bus)
    delivery, version = await given_out(bus, executor)
    await bus.submit("twice", [delivery.request])
    [other] = await bus.take(executor, 1, 1.0)
    again = replace(delivery.request, attempt=1)
    await bus.move(0, version, [Moved(delivery.entry, again)], [other.entry])
    snapshot = await bus.snapshot(0)
    assert list(snapshot.entries.values()) == [again]
    assert not snapshot.pending


async def test_a_checkpoint_is_kept_until_its_request_is_settled_or_moved(bus: Bus) -> None:
    """It says all that the token stream no longer does, and nothing of it outlives the request."""
    executor = await an_executor(bus)
    delivery, version = await given_out(bus, executor)
    saved = a_checkpoint()
    version = await bus.checkpoint(0, version, [a_checkpoint(output=(7,))])
    version = await bus.checkpoint(0, version, [saved, a_checkpoint("q.0")])
    assert await bus.checkpoints(["p.0", "unknown"]) == [saved]
    assert await bus.checkpoints([]) == []
    version = await bus.move(0, version, [Moved(delivery.entry, replace(delivery.request, attempt=1))])
    assert await bus.checkpoints(["p.0", "q.0"]) == [a_checkpoint("q.0")]
    ended = replace(delivery.request, id="q.0")
    await bus.settle(0, version, [Settled(None, Outcome(ended, FinishReason.STOP, ""))])
    assert await bus.checkpoints(["p.0", "q.0"]) == []


async def test_an_outcome_may_be_written_without_an_entry_and_forgotten(bus: Bus) -> None:
    """An owner asserts what it knows after the bus came back older, and bounds what it keeps there."""
    version = await bus.claim(0, "me")
    outcome = Outcome(a_request(), FinishReason.STOP, "text")
    await bus.settle(0, version, [Settled(None, outcome)])
    assert await bus.outcome("p.0") == outcome
    await bus.forget([])
    await bus.forget(["p.0", "unknown"])
    assert await bus.outcome("p.0") is None


async def test_the_bus_tells_who_remembers(bus: Bus) -> None:
    """The same name as long as it was not started anew, wherever it is told."""
    await bus.claim(0, "me")
    memory = await bus.memory()
    assert memory and memory == await bus.memory() == (await bus.snapshot(0)).memory


async def test_a_boot_is_above_what_its_engine_knows(bus: Bus) -> None:
    first = await bus.next_boot("e")
    assert (await bus.next_boot("e", first.boot + 1000)).boot == first.boot + 1001
