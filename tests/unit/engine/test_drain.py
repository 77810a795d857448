"""How fast the queue moves, and what the lease says of it."""

import pytest

from services.engine.drain import DrainRate
from services.engine.status import Load, Status
from shared.memory_bus import MemoryBus


def test_the_rate_is_departures_over_the_time_in_which_somebody_waited() -> None:
    rate = DrainRate()
    for second in range(20):
        rate.observe(float(second), 4 * second, waiting=3)
    assert rate.rate == pytest.approx(4.0)


def test_an_empty_queue_says_nothing() -> None:
    """Few leave because few come: that is no reason to tell anybody to stay away longer."""
    rate = DrainRate()
    assert rate.rate == 0.0
    for second in range(10):
        rate.observe(float(second), 4 * second, waiting=3)
    for second in range(10, 1000):
        rate.observe(float(second), 40 + second // 100, waiting=0)
    assert rate.rate == pytest.approx(4.0)


def test_what_is_old_is_forgotten() -> None:
    """A minute at a new pace, and the old one does not count any more."""
    rate = DrainRate()
    for second in range(100):
        rate.observe(float(second), 10 * second, waiting=1)
    for second in range(100, 160):
        rate.observe(float(second), 1000 + second - 100, waiting=1)
    assert 1.0 <= rate.rate < 1.1


async def test_the_lease_tells_load_and_pace() -> None:
    """What gateways bound the queue by."""
    bus, clock, departed = MemoryBus(), [0.0], [0]
    status = Status(bus, "e.1", lambda: clock[0])
    status.ready(
        64,
        300,
        lambda: Load(running=2, waiting=5, waiting_tokens=70, departed=departed[0], queues={"interactive:a": 5}),
    )
    await status.announce()
    clock[0], departed[0] = 2.0, 6
    await status.announce()
    [lease] = await bus.engines()
    assert (lease.running, lease.waiting, lease.waiting_tokens, lease.drain_rate) == (2, 5, 70, 3.0)
    assert lease.queues == {"interactive:a": 5}
