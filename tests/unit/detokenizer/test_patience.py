"""Who may judge others: an owner whose own connection has held for a while."""

from services.detokenizer.patience import SLOW_S, Patience
from shared.bus import BusDown


class Bus:
    """Answers after `slow_s`, or not at all."""

    def __init__(self) -> None:
        self.seconds, self.slow_s, self.failures = 100.0, 0.0, 0

    def now_s(self) -> float:
        return self.seconds

    async def verb(self) -> str:
        self.seconds += self.slow_s
        if self.failures:
            self.failures -= 1
            raise BusDown
        return "answer"


async def test_a_failure_and_a_standstill_both_begin_the_connection_anew() -> None:
    """While Redis stood still every lease ran out: nobody is judged by that."""
    bus = Bus()
    patience = Patience(bus.now_s)
    assert patience.connected_s() == 0
    await patience.ask(bus.verb)
    bus.seconds += 10
    bus.slow_s = SLOW_S
    assert await patience.ask(bus.verb) == "answer"
    assert patience.connected_s() == 10 + SLOW_S
    bus.slow_s = SLOW_S + 1
    assert await patience.ask(bus.verb) == "answer"
    assert patience.connected_s() == 0
    bus.slow_s, bus.failures = 0.0, 1
    bus.seconds += 5
    assert await patience.ask(bus.verb) == "answer"
    assert patience.connected_s() == 0
