"""The one owner of a process's spans: a ring of the last of them, and those that wait to be exported.

Appending costs about a microsecond and never waits; what finds no room is counted and gone.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable

from shared.telemetry.spans import Span, now_ns

RING = 16_384  # spans kept for the timeline
QUEUE = 8_192  # spans that wait for the exporter
MOST_OPEN = 512  # spans of what goes on now, told at one look


class Recorder:
    """`exports`: does anybody take what is exported? `slow_s`: requests this old are kept though not sampled; 0: none.

    `lane` and `instance` name the process on the timeline."""

    def __init__(self, lane: str, instance: str = "", *, exports: bool = False, slow_s: float = 0.0) -> None:
        self.lane = lane
        self.instance = instance
        self.exports = exports
        self._slow_ns = round(slow_s * 1e9)
        self._ring: deque[Span] = deque(maxlen=RING)
        self._queue: deque[Span] = deque()
        self._open: list[Callable[[], Iterable[Span]]] = []
        self._recorded = 0
        self._dropped = 0

    def record(self, span: Span) -> None:
        """For the timeline only."""
        self._ring.append(span)
        self._recorded += 1

    def finish(self, spans: Iterable[Span], *, sampled: bool, age_ns: int = 0) -> None:
        """All spans of one request in this service, or of one step: they were recorded, and are exported if the request
        was chosen, or is slow at the age of `age_ns`."""
        if not self.exports or not (sampled or (self._slow_ns and age_ns >= self._slow_ns)):
            return
        for span in spans:
            if len(self._queue) < QUEUE:
                self._queue.append(span)
            else:
                self._dropped += 1

    def take(self, most: int) -> list[Span]:
        """What is to be exported next."""
        return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    def drop(self, count: int) -> None:
        """Spans that were taken and could not be exported."""
        self._dropped += count

    def tells_open(self, spans: Callable[[], Iterable[Span]]) -> None:
        """`spans` says what goes on now, each span as if it ended at once."""
        self._open.append(spans)

    def since(self, start_ns: int) -> list[Span]:
        """The spans that ended at `start_ns` or later, and those that go on; as they were recorded."""
        found: list[Span] = []
        for span in reversed(self._ring):
            if span.end_ns >= start_ns:
                found.append(span)
            elif span.start_ns < start_ns - MOST_DISORDER_NS:
                break
        found.reverse()
        for spans in self._open:
            found.extend(span for _, span in zip(range(MOST_OPEN), spans(), strict=False))
        return found

    def statistics(self) -> dict[str, int]:
        return {
            "ring": len(self._ring),
            "queued": len(self._queue),
            "recorded": self._recorded,
            "dropped": self._dropped,
        }


MOST_DISORDER_NS = 60 * 10**9  # spans are recorded when they end, or a little later


LONGEST_MS = 86_400_000.0  # that anything here has taken


def moment_ns(unix_ms: float) -> int:
    """A moment that another process has told, on this machine's monotonic clock; never in the future. 0: now."""
    ago_ms = time.time() * 1000 - unix_ms if unix_ms else 0.0
    return now_ns() - round(min(max(ago_ms, 0.0), LONGEST_MS) * 1e6)


def wall_offset_ns() -> int:
    """Added to a moment of the monotonic clock it gives unix time, as things stand now."""
    return time.time_ns() - now_ns()
