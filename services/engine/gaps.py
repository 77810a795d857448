"""Why the device was idle between two steps: what the loop was at in that time. Pure: all moments are given.

    device   ── step N ──┤        gap         ├── step N+1 ──
    loop     ...  wait   │ commit │ plan │ pack │ launch
    causes                  plan     plan  submit  submit      and what is none of these: loop

An interval counts once, and for what was noted first; the rest of a gap is the event loop's, which was busy elsewhere,
or a thread that was slow to wake up.
"""

from collections import deque
from collections.abc import Mapping
from typing import Literal

Cause = Literal["work", "plan", "submit", "bus", "loop"]
CAUSES: tuple[Cause, ...] = ("work", "plan", "submit", "bus", "loop")
KEPT = 256  # intervals, more than lie between two steps


class Gaps:
    def __init__(self) -> None:
        self._intervals: deque[tuple[int, int, Cause]] = deque(maxlen=KEPT)

    def note(self, cause: Cause, start_ns: int, end_ns: int) -> None:
        """The loop was at this from `start_ns` to `end_ns`."""
        if end_ns > start_ns:
            self._intervals.append((start_ns, end_ns, cause))

    def between(self, ended_ns: int, begun_ns: int) -> dict[Cause, int]:
        """Of the gap from the end of one step to the begin of the next: nanoseconds by cause; empty if there is none.

        What lies before it is forgotten: gaps are asked for in their order."""
        while self._intervals and self._intervals[0][1] <= ended_ns:
            self._intervals.popleft()
        if begun_ns <= ended_ns:
            return {}
        found: dict[Cause, int] = {}
        at = ended_ns
        for start_ns, end_ns, cause in sorted(self._intervals):
            start_ns, end_ns = max(start_ns, at), min(end_ns, begun_ns)
            if start_ns >= begun_ns:
                break
            if end_ns > start_ns:
                found[cause] = found.get(cause, 0) + end_ns - start_ns
                at = end_ns
        if rest := begun_ns - ended_ns - sum(found.values()):
            found["loop"] = rest
        return found


def chief(gap: Mapping[Cause, int]) -> Cause | None:
    """What most of a gap is due to."""
    return max(gap, key=lambda cause: gap[cause], default=None)
