"""When the device began and ended a step, on the host's clock.

The host's events know. A card's events know only how far they lie apart; when one of them passed, the host learns late,
by as much as its thread takes to wake up. So moments are chained from what the events measure,

    end = min(seen, end of the step before + gap + busy + drift)

where `seen` is when the host knew of the end: never too early, at times a millisecond too late. What the chain says is
as late as the promptest of all wake-ups so far, since each prompt one pulls it down. `drift` is what the two clocks may
differ by meanwhile: it lets the chain rise again, were the card's clock slower, so it never stays behind the truth.
"""

from typing import NamedTuple

from services.engine.worker.flight import Event

DRIFT = 1e-4  # quartz clocks differ by less


class Placed(NamedTuple):
    begun_ns: int
    ended_ns: int
    busy_s: float
    idle_s: float  # since the step before; 0 for the first


class StepClock:
    """Of one device, whose steps are placed in their order."""

    def __init__(self) -> None:
        self._last: Event | None = None  # the end of the step before
        self._last_ns = 0

    def place(self, begun: Event, ended: Event, seen_ns: int) -> Placed:
        """`seen_ns`: the host's monotonic clock, once it knew that `ended` has passed."""
        busy_s = ended.since(begun)
        idle_s = max(0.0, begun.since(self._last)) if self._last is not None else 0.0
        begun_ns, ended_ns = begun.at_ns, ended.at_ns
        if not ended_ns:
            ended_ns = seen_ns
            if self._last is not None:
                chained_s = (idle_s + busy_s) * (1 + DRIFT)
                ended_ns = min(seen_ns, self._last_ns + round(chained_s * 1e9))
            begun_ns = ended_ns - round(busy_s * 1e9)
        self._last, self._last_ns = ended, ended_ns
        return Placed(begun_ns, ended_ns, busy_s, idle_s)
