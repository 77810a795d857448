"""How many bytes of finished answers this owner has put on the bus: the oldest go when there are too many.

What a predecessor has put there is not counted here; it goes with its time.
"""

from collections import deque
from collections.abc import Callable, Iterable

from shared.messages import Outcome
from shared.types import RequestId

BESIDE_BYTES = 1024  # of an outcome, besides text and ids
ID_BYTES = 7  # of a token id, written in decimals
SCORE_BYTES = 48  # of a token's score, and half as many for each token beside it


class Kept:
    def __init__(self, most_bytes: int, retention_s: float, now_s: Callable[[], float]) -> None:
        self._most_bytes = most_bytes
        self._retention_s = retention_s
        self._now_s = now_s
        self._kept: deque[tuple[float, RequestId, int]] = deque()  # until when; the oldest first
        self._bytes = 0

    def add(self, outcomes: Iterable[Outcome]) -> list[RequestId]:
        """They are on the bus now. Returns those which have to go for it."""
        now_s = self._now_s()
        for outcome in outcomes:
            size = _size(outcome)
            self._kept.append((now_s + self._retention_s, outcome.request.id, size))
            self._bytes += size
        gone: list[RequestId] = []
        while self._kept and (self._bytes > self._most_bytes or self._kept[0][0] < now_s):
            until_s, id, size = self._kept.popleft()
            self._bytes -= size
            if until_s >= now_s:  # else it has gone by itself
                gone.append(id)
        return gone

    def statistics(self) -> dict[str, int]:
        return {"outcomes": len(self._kept), "bytes": self._bytes}


def _size(outcome: Outcome) -> int:
    """About how many bytes it has on the bus."""
    request = outcome.request
    scores = (*request.scores, *request.prompt_scores)
    numbers = 2 * len(scores) + sum(len(score.ids) for score in scores)
    ids = len(request.output) + len(request.prompt)
    return BESIDE_BYTES + len(outcome.text.encode()) + ID_BYTES * ids + SCORE_BYTES * numbers // 2
