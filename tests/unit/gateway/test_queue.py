"""The bounded queue as a gateway counts it: who may come, where a request stands, when to come again. Pure."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from services.gateway.queue import LONGEST_S, UNKNOWN_S, Load, Place, Queue, load_of
from shared.errors import Overloaded
from shared.messages import EngineStatus, GenerateRequest, RenderSpec
from shared.types import Lane, SamplingParams


def requests(
    count: int = 1, *, tenant: str = "", lane: Lane = "interactive", prompt: int = 10, output: int = 10
) -> Sequence[GenerateRequest]:
    """The choices of one call."""
    spec = RenderSpec(kind="chat", model="m", created=1, stream=True, choices=count, prompt_tokens=prompt)
    return [
        GenerateRequest(
            id=f"p.{index}",
            parent_id="p",
            index=index,
            prompt=(1,) * prompt,
            sampling=SamplingParams(max_tokens=output),
            render=spec,
            shard=0,
            tenant=tenant,
            lane=lane,
        )
        for index in range(count)
    ]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def an_engine(**fields: object) -> EngineStatus:
    return EngineStatus(name="e.1", state="ready", **fields)  # type: ignore[arg-type]


def test_what_waits_is_what_lies_in_the_lanes_and_does_not_run() -> None:
    """All engines together; what none of them has read counts with the mean length of what they have."""
    engines = [
        an_engine(running=4, waiting=6, waiting_tokens=600, drain_rate=2.0, queues={"interactive:a": 6}),
        an_engine(running=4, waiting=4, waiting_tokens=200, drain_rate=1.5, queues={"interactive:a": 1, "batch:": 3}),
    ]
    assert load_of(engines, 28) == Load(20, 1600, 3.5, {"interactive:a": 7, "batch:": 3})
    assert load_of([an_engine(running=9)], 5) == Load()  # a lease is up to a second old


def test_one_request_more_than_the_bound_is_refused(stack: ExitStack) -> None:
    """What this gateway has added since the last look counts at once; what has gone leaves room at the next."""
    queue = Queue(10, 1_000_000, 1.0)
    queue.look(Load(8))
    places = [stack.enter_context(queue.place(requests())) for _ in range(2)]
    with pytest.raises(Overloaded, match="10 requests wait"), queue.place(requests()):
        pass
    with pytest.raises(Overloaded):
        queue.check()
    places[0].leave()
    queue.look(Load(9))
    queue.check()
    stack.enter_context(queue.place(requests()))


def test_every_choice_counts(stack: ExitStack) -> None:
    queue = Queue(10, 1_000_000, 1.0)
    stack.enter_context(queue.place(requests(7)))
    with pytest.raises(Overloaded), queue.place(requests(4)):
        pass
    stack.enter_context(queue.place(requests(3)))


def test_tokens_are_bounded_too(stack: ExitStack) -> None:
    """Prompt and most output; a request that waits alone may be longer than the bound."""
    queue = Queue(1000, 100, 1.0)
    stack.enter_context(queue.place(requests(prompt=500, output=500)))
    queue.look(Load())
    stack.enter_context(queue.place(requests(prompt=30, output=30)))
    with pytest.raises(Overloaded, match="100 tokens wait"), queue.place(requests(prompt=20, output=21)):
        pass
    stack.enter_context(queue.place(requests(prompt=20, output=20)))


def test_one_key_cannot_fill_the_queue(stack: ExitStack) -> None:
    """Its share is bounded; others, and who has no key, come in."""
    queue = Queue(8, 1_000_000, 0.75)
    queue.look(Load(5, queues={"interactive:a": 5}))
    stack.enter_context(queue.place(requests(tenant="a")))
    with pytest.raises(Overloaded, match="6 requests of this API key"), queue.place(requests(tenant="a")):
        pass
    stack.enter_context(queue.place(requests(tenant="b")))
    stack.enter_context(queue.place(requests()))


@pytest.mark.parametrize(
    ("rate", "over", "seconds"),
    [(0.0, 1, UNKNOWN_S), (10.0, 1, 1), (2.0, 1, 5), (2.0, 30, 15), (0.01, 1, LONGEST_S), (1e6, 1, 1)],
)
def test_retry_after_is_the_time_in_which_there_will_be_room(rate: float, over: int, seconds: int) -> None:
    """What is too much, or a tenth of the bound, at the rate measured; never 0, never endless."""
    queue = Queue(100, 1_000_000, 1.0)
    queue.look(Load(100, rate=rate))
    assert queue.retry_after_s(over) == seconds


def test_the_refusal_says_when_to_come_again() -> None:
    queue = Queue(10, 1_000_000, 1.0)
    queue.look(Load(12, rate=0.5))
    with pytest.raises(Overloaded) as refused, queue.place(requests(4)):
        pass
    assert refused.value.headers() == {"Retry-After": "12"}  # six too many


def placed(queue: Queue, stack: ExitStack, count: int, **fields: object) -> list[Place]:
    return [stack.enter_context(queue.place(requests(**fields))) for _ in range(count)]  # type: ignore[arg-type]


def test_a_position_counts_down_as_those_before_leave(stack: ExitStack) -> None:
    """One tenant, one gateway: the order of arrival, and the time it takes at the rate measured."""
    queue = Queue(100, 1_000_000, 1.0)
    places = placed(queue, stack, 3)
    assert [place.position() for place in places] == [1, 2, 3]
    assert places[0].estimate_s() is None and places[0].headers() == {"X-Queue-Position": "1"}
    queue.look(Load(3, rate=2.0, queues={"interactive:": 3}))
    assert places[2].headers() == {"X-Queue-Position": "3", "X-Queue-Estimate-Seconds": "1.5"}
    assert places[2].comment() == b": queued position=3 estimate=1.5s\n\n"
    places[0].leave()
    queue.look(Load(2, rate=2.0, queues={"interactive:": 2}))
    assert [place.position() for place in places] == [0, 1, 2]


def test_nothing_waits_no_position(stack: ExitStack) -> None:
    queue = Queue(100, 1_000_000, 1.0)
    [place] = placed(queue, stack, 1)
    queue.look(Load(rate=5.0))
    assert (place.position(), place.estimate_s(), place.headers(), place.comment()) == (0, 0.0, {}, None)


def test_those_of_other_gateways_stand_between(stack: ExitStack) -> None:
    """Ours are taken to be spread evenly among all of the tenant's."""
    queue = Queue(100, 1_000_000, 1.0)
    places = placed(queue, stack, 4)
    queue.look(Load(12, queues={"interactive:": 12}))
    assert [place.position() for place in places] == [3, 6, 9, 12]


def test_those_that_run_and_have_shown_nothing_yet_do_not_wait(stack: ExitStack) -> None:
    """An answer that is no stream shows nothing before its end: the oldest are those that run."""
    queue = Queue(100, 1_000_000, 1.0)
    places = placed(queue, stack, 10)
    queue.look(Load(2, queues={"interactive:": 2}))
    assert [place.position() for place in places] == [1] * 9 + [2]


def test_a_position_is_in_turns_between_tenants(stack: ExitStack) -> None:
    """A flood of another key counts once for each of ours."""
    queue = Queue(1000, 1_000_000, 1.0)
    places = placed(queue, stack, 3, tenant="b")
    queue.look(Load(503, queues={"interactive:a": 500, "interactive:b": 3, "batch:c": 50}))
    assert [place.position() for place in places] == [2, 4, 6]


def test_the_batch_lane_stands_behind_the_other(stack: ExitStack) -> None:
    queue = Queue(1000, 1_000_000, 1.0)
    [place] = placed(queue, stack, 1, lane="batch", tenant="b")
    queue.look(Load(100, queues={"interactive:a": 20, "interactive:b": 3, "batch:c": 50, "batch:b": 1}))
    assert place.position() == 20 + 3 + 1 + 1


def test_who_leaves_is_forgotten_however_it_leaves() -> None:
    """By an answer, by an error, twice: nothing is left."""
    queue = Queue(10, 1_000_000, 1.0)
    with pytest.raises(ZeroDivisionError), queue.place(requests(tenant="a")) as place:
        place.leave()
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), queue.place(requests(tenant="b")):
        raise ZeroDivisionError
    assert queue.statistics()["waiting_here"] == 0 and queue._places == {}
