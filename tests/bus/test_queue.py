"""How much lies in the lanes, and from which of them an engine reads first."""

from shared.bus import Bus
from tests.bus.cases import a_request, an_executor


async def test_the_backlog_is_all_that_is_not_settled(bus: Bus) -> None:
    """Both lanes; to be taken changes nothing."""
    executor = await an_executor(bus)
    assert await bus.backlog() == 0
    await bus.submit("b", [a_request("b", lane="batch")])
    await bus.submit("i", [a_request("i", 0), a_request("i", 1)])
    assert await bus.backlog() == 3
    await bus.take(executor, 2, 0.0)
    assert await bus.backlog() == 3


async def test_the_lane_that_is_named_first_is_read_first(bus: Bus) -> None:
    executor = await an_executor(bus)
    await bus.submit("b", [a_request("b", lane="batch")])
    await bus.submit("i", [a_request("i", 0), a_request("i", 1)])
    [first] = await bus.take(executor, 1, 0.0, ("batch", "interactive"))
    assert first.request.lane == "batch"
    rest = await bus.take(executor, 10, 0.0, ("batch", "interactive"))
    assert [delivery.request.lane for delivery in rest] == ["interactive", "interactive"]
