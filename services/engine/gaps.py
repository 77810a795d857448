"""Why the device was idle between two steps: by what the loop did meanwhile.

    device   ── N ──┐                                   ┌── N+1 ──
    loop            └ ? │ commit │ plan │ bus │ submit │ ? ┘

What of [end of N, begin of N+1] lies in an interval that the loop has measured is put down to it; a launch counts as
submit. The rest is the loop's: it was busy with others, or a thread had yet to wake up. Pure: all moments are given, in
nanoseconds of one clock.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

KEPT = 64  # intervals of the last steps; a step adds a handful


class Cause(StrEnum):
    WORK = "work"  # there was nothing to do
    PLAN = "plan"  # events, deadlines, plan and commit
    SUBMIT = "submit"  # pack and launch
    BUS = "bus"  # the channel to the outbox was full
    LOOP = "loop"


@dataclass(frozen=True, slots=True)
class Gap:
    """An idle time before a step, and its parts. `cause` is the largest of them."""

    ns: int = 0
    parts: Mapping[Cause, int] = field(default_factory=dict)

    @property
    def cause(self) -> Cause | None:
        return max(self.parts, key=self.parts.__getitem__) if self.ns else None


NO_GAP = Gap()


class _Interval(NamedTuple):
    cause: Cause
    begin_ns: int
    end_ns: int


class Gaps:
    """Of one device and one loop: what the loop did, in the order of time, and each step as it becomes known."""

    def __init__(self) -> None:
        self._intervals: deque[_Interval] = deque(maxlen=KEPT)
        self._ended_ns = 0  # of the step before

    def note(self, cause: Cause, begin_ns: int, end_ns: int) -> None:
        """The loop did this. Intervals do not overlap."""
        if end_ns > begin_ns:
            self._intervals.append(_Interval(cause, begin_ns, end_ns))

    def waited(self, since_ns: int, until_ns: int) -> None:
        """There was nothing to do since then, whatever came and was of no use meanwhile."""
        while self._intervals and self._intervals[-1].begin_ns >= since_ns:
            self._intervals.pop()
        self.note(Cause.WORK, since_ns, until_ns)

    def before(self, begun_ns: int, ended_ns: int, submitted_ns: int, launched_ns: int, launch_ns: int) -> Gap:
        """The gap before the next step, which the loop had submitted by `submitted_ns`, and whose launch began and took
        so long; moments of 0 are not known, and then neither is the gap."""
        last_ns, self._ended_ns = self._ended_ns, ended_ns
        gap = self._between(last_ns, begun_ns, submitted_ns, launched_ns, launch_ns) if last_ns and begun_ns else NO_GAP
        while self._intervals and self._intervals[0].end_ns <= ended_ns:
            self._intervals.popleft()
        return gap

    def _between(self, from_ns: int, to_ns: int, submitted_ns: int, launched_ns: int, launch_ns: int) -> Gap:
        if to_ns <= from_ns:
            return NO_GAP
        parts: dict[Cause, int] = {}
        until_ns = min(to_ns, submitted_ns)  # what the loop does once it has handed the step over holds nobody up
        for cause, begin_ns, end_ns in self._intervals:
            if (overlap := min(end_ns, until_ns) - max(begin_ns, from_ns)) > 0:
                parts[cause] = parts.get(cause, 0) + overlap
        launch_end_ns, launch_begin_ns = min(launched_ns + launch_ns, to_ns), max(launched_ns, from_ns, until_ns)
        if launched_ns and launch_end_ns > launch_begin_ns:  # behind what was counted: a launch may begin before that
            parts[Cause.SUBMIT] = parts.get(Cause.SUBMIT, 0) + launch_end_ns - launch_begin_ns
        if (rest := to_ns - from_ns - sum(parts.values())) > 0:
            parts[Cause.LOOP] = rest
        return Gap(to_ns - from_ns, parts)
