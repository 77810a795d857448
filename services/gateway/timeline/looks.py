"""One look at all services at a time: who comes meanwhile waits, and shares what it can."""

import asyncio
import time
from typing import NamedTuple

from services.gateway.timeline.collection import Answer, Collection
from services.gateway.timeline.rows import told
from services.gateway.timeline.trace import trace

FRESH_S = 0.25  # so young a look is shown again


class _Look(NamedTuple):
    seconds: float
    request: str
    taken_s: float  # when it ended
    document: bytes


class Looks:
    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._lock = asyncio.Lock()
        self._last = _Look(0.0, "", 0.0, b"")

    async def trace(self, seconds: float, request: str = "") -> bytes:
        """What all services did in the last seconds (`trace.py`). `request` is a digest."""
        asked_s = time.monotonic()
        async with self._lock:
            last = self._last
            same = (last.seconds, last.request) == (seconds, request)
            if not same or last.taken_s < asked_s - FRESH_S:
                answers = await self._collection.answers(seconds)
                document = await asyncio.to_thread(_document, answers, seconds, request)
                self._last = last = _Look(seconds, request, time.monotonic(), document)
        return last.document


def _document(answers: list[Answer], seconds: float, request: str) -> bytes:
    now_ns = time.time_ns()
    start_ns = now_ns - round(seconds * 1e9)
    return trace([told(one, start_ns, now_ns) for one in answers], now_ns, seconds, request)
