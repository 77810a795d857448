"""The queue: by rank, without a scan, and without growing by those who left."""

from services.engine.core.events import Submit
from services.engine.core.request import Phase, Request
from services.engine.core.waiting import WaitingQueue
from shared.types import SamplingParams


def a_request(epoch: int, arrival: float = 0.0, priority: int = 0) -> Request:
    id = f"r{epoch}"
    sampling = SamplingParams(max_tokens=4)
    event = Submit(id=id, parent_id=id, prompt=(1,), sampling=sampling, arrival=arrival, priority=priority)
    return Request(event, epoch, 5, 30.0, 4)


def test_the_queue_is_ordered_by_rank() -> None:
    """Priority, aged by arrival; then the order of submission."""
    queue = WaitingQueue()
    requests = [a_request(1, 5.0), a_request(2, 1.0), a_request(3, 1.0), a_request(4, 20.0, -1), a_request(5, 0.0, 1)]
    for request in requests:
        queue.push(request)
    order = []
    while queue.first() is not None:
        order.append(queue.pop().epoch)
    assert order == [4, 2, 3, 1, 5]


def test_those_who_end_in_the_queue_are_met_or_swept() -> None:
    """They are never shown, never counted, and at most as many as those who wait."""
    queue = WaitingQueue()
    requests = [a_request(number) for number in range(100)]
    for request in requests:
        queue.push(request)
    for request in requests[:90]:
        request.phase = Phase.ENDED
        queue.husk()
        queue.check()
        assert len(queue._heap) <= 2 * len(queue) + 1
    first = queue.first()
    assert len(queue) == 10 and first is requests[90]
