"""A step on its way: what whoever waits for it holds, wherever it is computed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


class Event(Protocol):
    """A place in a stream."""

    @property
    def at_ns(self) -> int:
        """When it passed, on the host's monotonic clock; 0 if only the device knows."""
        ...

    def synchronize(self) -> None:
        """Block this thread until all that was enqueued before the event has run."""
        ...

    def since(self, earlier: Any) -> float:
        """Seconds from another event of the same device to this one; both have passed."""
        ...


@dataclass(slots=True)
class HostEvent:
    """A moment of the host's monotonic clock: now, or 0 until it is known."""

    at_ns: int = field(default_factory=time.monotonic_ns)

    def synchronize(self) -> None:
        return

    def since(self, earlier: "HostEvent") -> float:
        return (self.at_ns - earlier.at_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Flight:
    """`wait` blocks until the results are there and gives them, drawn ids first; call it once."""

    wait: Callable[[], list[int]]
    begun: Event
    ended: Event
    faults: tuple[tuple[int, str], ...] = ()  # (index of a drawn id, why it does not count)
