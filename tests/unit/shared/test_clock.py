"""The bus's time between two looks at it."""

from shared.clock import BusClock


class Clocks:
    """A bus whose clock stands at 1,000 s when ours begins; asking takes 0.2 s."""

    def __init__(self) -> None:
        self.now_s = 0.0

    async def now_ms(self) -> int:
        self.now_s += 0.1
        shown = round(1_000_000 + self.now_s * 1000)
        self.now_s += 0.1
        return shown


async def test_a_moment_is_found_on_either_clock() -> None:
    """Half the way there and back is taken off."""
    clocks = Clocks()
    clock = BusClock(lambda: clocks.now_s)
    await clock.sync(clocks)
    assert clock.now_ms() == 1_000_200
    assert abs(clock.local_s(1_005_000) - 5.0) < 1e-6
    clocks.now_s = 7.0
    assert clock.now_ms() == 1_007_000
