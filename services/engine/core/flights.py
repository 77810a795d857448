"""The steps that are launched and not yet committed: what each of them means, and the blocks that wait for it.

A result that comes late is read by the snapshot taken at launch and by nothing else: the live request has moved on,
has been preempted, has ended, or is another one under the same id.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from services.engine.core.step import StepResult
from shared.types import RequestId


class Launched(NamedTuple):
    """What one row of a step meant when it was launched."""

    id: RequestId
    epoch: int
    row: int
    end: int  # tokens of the request computed when this step has run
    offset: int  # of the drawn token within the output; -1 if none is drawn
    at_limit: bool  # that token is the last one by length


@dataclass(slots=True)
class Flight:
    step: int
    rows: tuple[Launched, ...]  # in the order of the plan's work
    holds: list[list[int]] = field(default_factory=list)  # blocks to be released when this step has committed


class Flights:
    __slots__ = ("_flights", "blocks_held", "next_step")

    def __init__(self) -> None:
        self._flights: deque[Flight] = deque()
        self.next_step = 0
        self.blocks_held = 0

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._flights)

    def launch(self, flight: Flight) -> None:
        self._flights.append(flight)
        self.next_step += 1

    def hold(self, blocks: list[int], step: int) -> None:
        """Keep `blocks` until `step`, which is in flight, has committed."""
        self._flights[step - self._flights[0].step].holds.append(blocks)
        self.blocks_held += len(blocks)

    def land(self, result: StepResult) -> Flight:
        """The oldest flight, which `result` must be of. ValueError if it is not: then the worker is broken."""
        if not self._flights or self._flights[0].step != result.step:
            expected = f"step {self._flights[0].step}" if self._flights else "none"
            raise ValueError(f"the worker answered step {result.step}; {expected} is due")
        drawn = sum(row.offset >= 0 for row in self._flights[0].rows)
        if len(result.tokens) != drawn:
            raise ValueError(f"step {result.step} draws {drawn} tokens; the worker answered {len(result.tokens)}")
        flight = self._flights.popleft()
        self.blocks_held -= sum(map(len, flight.holds))
        return flight

    def check(self) -> None:
        held = sum(len(blocks) for flight in self._flights for blocks in flight.holds)
        assert held == self.blocks_held, f"flights hold {held} blocks, {self.blocks_held} counted"
