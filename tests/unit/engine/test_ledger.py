"""What the engine was given, and what it tells of it."""

import asyncio

from services.engine.core.events import Delta
from services.engine.ledger import Ledger
from shared.bus import Delivery, Entry, StreamId
from shared.messages import PROMPT_TAIL, Finished, GenerateRequest, RenderSpec, Started, Tokens
from shared.types import FinishReason, SamplingParams, Score


def a_delivery(index: int = 0, at: int = 1, shard: int = 0, output: tuple[int, ...] = ()) -> Delivery:
    request = GenerateRequest(
        id=f"p.{index}",
        parent_id="p",
        index=index,
        prompt=tuple(range(100)),
        output=output,
        attempt=3,
        sampling=SamplingParams(max_tokens=4),
        render=RenderSpec(kind="chat", model="m", created=1, stream=True, choices=1, prompt_tokens=3),
        shard=shard,
    )
    return Delivery(Entry("interactive", StreamId(at, 0)), request)


def test_a_start_is_told_once_and_before_the_first_token() -> None:
    """The outbox may hear of a token before it hears that the step began: the start still comes first (PROTOCOL 2)."""
    ledger = Ledger(4)
    ledger.take(a_delivery(shard=1))
    told = ledger.tell(Delta("p.0", 0, (7,)))
    assert [type(record) for _, record in told] == [Started, Tokens]
    assert [shard for shard, _ in told] == [1, 1]
    assert ledger.start("p.0") == []
    assert ledger.tell(Delta("p.0", 1, (8,))) == [(1, Tokens("p.0", 3, 1, (8,)))]


def test_a_start_carries_only_the_tail_of_the_prompt_and_all_of_the_output() -> None:
    ledger = Ledger(4)
    ledger.take(a_delivery(at=77, output=(5, 6)))
    [(_, record)] = ledger.start("p.0")
    assert isinstance(record, Started)
    assert record.entry == "77-0"
    assert record.request.prompt == tuple(range(100))[-PROMPT_TAIL:]
    assert record.request.output == (5, 6)


def test_an_end_strikes_the_request_out_and_later_news_is_ignored() -> None:
    ledger = Ledger(1)
    ledger.take(a_delivery())
    assert ledger.room == 0
    *_, (_, end) = ledger.tell(Delta("p.0", 2, (7, 8), FinishReason.LENGTH))
    assert end == Finished("p.0", 3, 4, FinishReason.LENGTH)
    assert ledger.room == 1
    assert ledger.tell(Delta("p.0", 4, (9,))) == [] and ledger.start("p.0") == []


def test_what_was_taken_once_is_never_taken_again() -> None:
    """An ended request stays pending on the bus until its owner settles it; it must not run a second time."""
    ledger = Ledger(4)
    delivery = a_delivery()
    assert ledger.take(delivery) is delivery.request
    ledger.tell(Delta("p.0", 0, (), FinishReason.CANCEL))
    ledger.reconcile([delivery])
    assert ledger.take(delivery) is None
    ledger.reconcile([])
    assert ledger.take(a_delivery(at=2)) is not None


def test_an_id_that_runs_is_not_taken_under_another_entry() -> None:
    ledger = Ledger(4)
    ledger.take(a_delivery(at=1))
    assert ledger.take(a_delivery(at=2)) is None


async def test_who_waits_for_room_wakes_when_a_request_ends() -> None:
    ledger = Ledger(1)
    ledger.take(a_delivery())
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(ledger.wait_for_room())
        await asyncio.sleep(0)
        assert not waiting.done()
        ledger.tell(Delta("p.0", 0, (), FinishReason.CANCEL))
    assert ledger.room == 1


def test_scores_are_told_with_their_tokens_and_go_where_the_request_goes() -> None:
    """Set aside and taken up again, it has those of all its output."""
    ledger, scores = Ledger(4), (Score(-1.0, 1), Score(-2.0, 3, (9,), (-0.5,)))
    ledger.take(a_delivery())
    for offset, score in enumerate(scores):
        told = ledger.tell(Delta("p.0", offset, (7,), scores=(score,)))
        assert told[-1] == (0, Tokens("p.0", 3, offset, (7,), (score,)))
    ledger.set_aside(["p.0"])
    ledger.tell(Delta("p.0", 2, (), FinishReason.CANCEL))
    again = ledger.unpark("p.0")
    assert again is not None and (again.output, again.scores) == ((7, 7), scores)
