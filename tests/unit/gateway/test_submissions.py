"""What a bus that came back older has forgotten is submitted again (PROTOCOL 10)."""

import pytest

from services.gateway.submissions import Submissions
from shared.bus import BusDown
from shared.memory_bus import MemoryBus


async def test_after_a_new_start_of_the_bus_all_that_is_waited_for_is_submitted_again() -> None:
    """Once for each start, again after a failure, and not what has ended."""
    bus, calls = MemoryBus(), list[str]()
    submissions = Submissions(bus)

    async def submit() -> None:
        calls.append("p")
        if len(calls) == 1:
            raise BusDown

    with submissions.hold("p", submit):
        await submissions.look()
        await submissions.look()
        assert not calls
        bus.restart()
        with pytest.raises(BusDown):
            await submissions.look()
        await submissions.look()
        await submissions.look()
        assert calls == ["p", "p"]
    bus.restart()
    await submissions.look()
    assert calls == ["p", "p"]
