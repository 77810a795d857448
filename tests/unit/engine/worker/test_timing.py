"""A card's steps on the host's clock, by made-up events: no later than was seen, never before their time."""

from dataclasses import dataclass
from random import Random

from services.engine.worker.flight import HostEvent
from services.engine.worker.timing import StepClock

MS = 1_000_000


@dataclass(frozen=True)
class Moment:
    """An event of a card whose clock runs at `pace`; when it passed is known to the test alone."""

    true_ns: int
    pace: float = 1.0
    at_ns: int = 0

    def synchronize(self) -> None:
        return

    def since(self, earlier: "Moment") -> float:
        return (self.true_ns - earlier.true_ns) * self.pace / 1e9


def errors_ns(late_ns: list[int], pace: float = 1.0) -> list[int]:
    """How late the clock places the ends of steps of 5 ms with gaps of 1 ms, each seen that much late."""
    clock, found = StepClock(), list[int]()
    for number, late in enumerate(late_ns):
        begun = 1_000_000 * MS + number * 6 * MS
        placed = clock.place(Moment(begun, pace), Moment(begun + 5 * MS, pace), begun + 5 * MS + late)
        found.append(placed.ended_ns - begun - 5 * MS)
        assert placed.ended_ns - placed.begun_ns == round(5 * MS * pace)
    return found


def test_one_prompt_wake_up_puts_all_later_steps_right() -> None:
    """The first was seen 900 us late, the third 10 us: from then on nothing is later than that and what drifts."""
    found = errors_ns([900_000, 400_000, 10_000, 3 * MS, 2 * MS, 700_000])
    assert found[:3] == [900_000, 400_000, 10_000]
    assert all(10_000 <= error <= 13_000 for error in found[3:]), found


def test_no_step_is_placed_after_the_host_has_seen_its_end() -> None:
    dice = Random(7)
    late = [dice.randrange(20_000, 3 * MS) for _ in range(2_000)]
    assert all(error <= seen for error, seen in zip(errors_ns(late), late, strict=True))


def test_a_card_whose_clock_differs_is_followed() -> None:
    """50 ppm slower or faster: after 12 s, 600 us if nobody minded, the steps are still where they belong."""
    for pace in (1 - 5e-5, 1 + 5e-5):
        dice = Random(3)
        late = [dice.randrange(20_000, MS) for _ in range(2_000)]
        assert all(-100 <= error <= 250_000 for error in errors_ns(late, pace)[200:])


def test_busy_and_idle_are_what_the_events_say() -> None:
    clock = StepClock()
    first = clock.place(Moment(1 * MS), Moment(6 * MS), 7 * MS)
    second = clock.place(Moment(8 * MS), Moment(9 * MS), 20 * MS)
    assert (first.busy_s, first.idle_s) == (0.005, 0.0)
    assert (second.busy_s, second.idle_s) == (0.001, 0.002)


def test_the_hosts_own_events_are_taken_as_they_are() -> None:
    begun, ended = HostEvent(), HostEvent()
    placed = StepClock().place(begun, ended, ended.at_ns + 5 * MS)
    assert (placed.begun_ns, placed.ended_ns) == (begun.at_ns, ended.at_ns)
