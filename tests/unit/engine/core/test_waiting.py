"""The queue: lanes, tenants, ranks; without a scan, and without growing by those who left."""

from services.engine.core.events import Submit
from services.engine.core.fairness import MOST_ACCOUNTS
from services.engine.core.request import Phase, Request
from services.engine.core.waiting import BATCH_TURN, WaitingQueue
from shared.types import Lane, SamplingParams


def a_request(
    epoch: int,
    arrival: float = 0.0,
    priority: int = 0,
    tenant: str = "",
    lane: Lane = "interactive",
    prompt: int = 1,
) -> Request:
    id = f"r{epoch}"
    event = Submit(
        id=id, parent_id=id, prompt=(1,) * prompt, sampling=SamplingParams(max_tokens=4), arrival=arrival,
        priority=priority, tenant=tenant, lane=lane,
    )  # fmt: skip
    return Request(event, epoch, prompt + 4, 30.0, 4)


def admitted(queue: WaitingQueue, count: int = 10_000) -> list[Request]:
    """The next ones, as the scheduler takes them."""
    order: list[Request] = []
    while len(order) < count and (first := queue.first()) is not None:
        queue.check()
        taken = queue.pop()
        assert taken is first
        order.append(taken)
        taken.phase = Phase.RUNNING
    return order


def test_the_queue_is_ordered_by_rank() -> None:
    """Priority, aged by arrival; then the order of submission."""
    queue = WaitingQueue()
    requests = [a_request(1, 5.0), a_request(2, 1.0), a_request(3, 1.0), a_request(4, 20.0, -1), a_request(5, 0.0, 1)]
    for request in requests:
        queue.push(request)
    assert [request.epoch for request in admitted(queue)] == [4, 2, 3, 1, 5]


def test_those_who_end_in_the_queue_are_met_or_swept() -> None:
    """They are never shown, never counted, and at most as many as those who wait."""
    queue = WaitingQueue()
    requests = [a_request(number) for number in range(100)]
    for request in requests:
        queue.push(request)
    for request in requests[:90]:
        request.phase = Phase.ENDED
        queue.husk(request)
        queue.check()
        assert len(request.account._heap) <= 2 * len(queue) + 1
    first = queue.first()
    assert len(queue) == 10 and first is requests[90]


def test_a_tenant_of_which_all_have_ended_gives_its_turn_away() -> None:
    """And gets one again when it comes back."""
    queue = WaitingQueue()
    gone, there = a_request(1, tenant="a"), a_request(2, tenant="b")
    queue.push(gone)
    queue.push(there)
    gone.phase = Phase.ENDED
    queue.husk(gone)
    assert admitted(queue) == [there]
    back = a_request(3, tenant="a")
    queue.push(back)
    assert admitted(queue) == [back] and len(queue) == queue.tokens == 0


def test_a_flood_of_one_tenant_does_not_hold_up_another() -> None:
    """500 requests of A came first; B's five go in turn with A's, whatever the flood's length."""
    queue = WaitingQueue()
    for number in range(500):
        queue.push(a_request(number, arrival=number, tenant="a"))
    admitted(queue, 64)
    for number in range(500, 505):
        queue.push(a_request(number, arrival=number, tenant="b"))
    order = [request.tenant for request in admitted(queue)]
    assert [place for place, tenant in enumerate(order) if tenant == "b"] == [1, 3, 5, 7, 9]


def test_what_counts_is_tokens_and_not_requests() -> None:
    """Prompts ten times as long come a tenth as often."""
    queue = WaitingQueue()
    for number in range(100):
        queue.push(a_request(number, tenant="long", prompt=100))
        queue.push(a_request(1000 + number, tenant="short", prompt=10))
    first = [request.tenant for request in admitted(queue, 55)]
    assert 4 <= first.count("long") <= 6


def test_tokens_drawn_count_too() -> None:
    """Who is drawing much waits longer for the next request."""
    queue = WaitingQueue()
    for number, tenant in enumerate("abab"):
        queue.push(a_request(number, tenant=tenant))
    running = admitted(queue, 2)
    for _ in range(100):
        running[0].account.drew()
    assert [request.tenant for request in admitted(queue)] == ["b", "a"]


def test_nobody_saves_up_credit_by_waiting_for_nothing() -> None:
    """A tenant that asked for nothing so far is not served alone until it has caught up; nor does one pay for what it
    was given while nobody else wanted anything."""
    queue = WaitingQueue()
    for number in range(300):
        queue.push(a_request(number, tenant="old", prompt=50))
    admitted(queue, 200)
    for number in range(300, 330):
        queue.push(a_request(number, tenant="new", prompt=50))
    order = [request.tenant for request in admitted(queue, 20)]
    assert 9 <= order.count("old") <= 11
    admitted(queue)
    for number in range(400, 410):
        queue.push(a_request(number, tenant="newest", prompt=50))
        queue.push(a_request(500 + number, tenant="old", prompt=50))
    order = [request.tenant for request in admitted(queue, 10)]
    assert 4 <= order.count("old") <= 6


def test_who_runs_again_after_a_preemption_is_not_charged_again() -> None:
    queue = WaitingQueue()
    request = a_request(1, tenant="a", prompt=50)
    queue.push(request)
    admitted(queue)
    served = request.account.served
    request.began, request.phase = True, Phase.WAITING
    queue.push(request)
    admitted(queue)
    assert request.account.served == served == 50


def test_interactive_goes_before_batch_and_batch_does_not_starve() -> None:
    """One of the batch lane after so many others; alone it has all."""
    queue = WaitingQueue()
    for number in range(4):
        queue.push(a_request(number, arrival=0.0, lane="batch"))
    for number in range(100, 120):
        queue.push(a_request(number, arrival=5.0))
    lanes = [request.lane for request in admitted(queue)]
    batch = [place for place, lane in enumerate(lanes) if lane == "batch"]
    assert batch == [BATCH_TURN, 2 * BATCH_TURN + 1, 22, 23]


def test_the_longest_queues_are_told_by_lane_and_tenant() -> None:
    queue = WaitingQueue()
    for number in range(5):
        queue.push(a_request(number, tenant="a"))
    queue.push(a_request(7, tenant="b"))
    for number in range(10, 12):
        queue.push(a_request(number, tenant="a", lane="batch"))
    assert queue.tenants(2) == {"interactive:a": 5, "batch:a": 2}
    assert len(queue) == 8 and queue.tokens == 8 * 5


def test_tenants_are_forgotten_when_there_are_too_many() -> None:
    """A client that shows a new key with each request fills no memory; who waits is never forgotten."""
    queue = WaitingQueue()
    waiting = a_request(0, tenant="patient")
    queue.push(waiting)
    for number in range(1, 3 * MOST_ACCOUNTS):
        request = a_request(number, tenant=f"t{number}")
        queue.push(request)
        request.phase = Phase.ENDED
        queue.husk(request)
        queue.check()
    assert len(queue._lanes["interactive"]._accounts) <= MOST_ACCOUNTS
    assert admitted(queue) == [waiting]
