"""How much of the token streams is still needed (PROTOCOL 13).

A stream begins at the `Started` of the oldest unsettled session, and never above what was read here. Long requests are
written down now and then, as if they had started there, so streams stay short however long a request lives.
"""

from collections.abc import Mapping
from dataclasses import replace

from services.detokenizer.ownership import Ownership
from services.detokenizer.patience import Patience
from services.detokenizer.session import Session
from services.detokenizer.sessions import Sessions
from shared.bus import ZERO, Bus, StreamId
from shared.messages import Checkpoint, Started

CHECKPOINT_STEPS = 1024


class Trimming:
    """`steps`: after how many of them a request is written down again; CHECKPOINT_STEPS if it is not said."""

    def __init__(
        self,
        bus: Bus,
        patience: Patience,
        ownership: Ownership,
        sessions: Sessions,
        shard: int,
        steps: int | None = None,
    ) -> None:
        self._bus = bus
        self._patience = patience
        self._ownership = ownership
        self._sessions = sessions
        self._shard = shard
        self._steps = CHECKPOINT_STEPS if steps is None else steps
        self._trimmed: dict[str, StreamId] = {}
        self._checkpoints = 0

    async def trim(self, read: Mapping[str, StreamId]) -> None:
        """`read`: how far each stream was, just now. What was read last stays: its writer may look for it after an
        unclear reply (PROTOCOL 1). While a session is adrift nothing goes: until it is queued again, whoever takes the
        shard over needs the `Started` that this owner does not count any more."""
        if any(session.adrift for session in self._sessions.unsettled()):
            return
        await self._checkpoint(read)
        below = {executor: cursor for executor, cursor in read.items() if cursor != ZERO}
        for session in self._sessions.unsettled():
            if session.executor in below and session.started:
                below[session.executor] = min(below[session.executor], session.started)
        moved = {executor: at for executor, at in below.items() if self._trimmed.get(executor) != at}
        if moved:
            await self._patience.ask(self._bus.trim, self._shard, moved)
            self._trimmed.update(moved)

    async def _checkpoint(self, read: Mapping[str, StreamId]) -> None:
        """Of sessions as they are now; those that have moved on when it is written keep their old place."""
        unsettled = self._sessions.unsettled()
        saved = [(session, one) for session in unsettled if (one := _checkpoint(session, read, self._steps))]
        if not saved:
            return
        async with self._ownership.alone:
            await self._ownership.checkpoint([one for _, one in saved])
        for session, one in saved:
            if (session.executor, session.attempt) == (one.executor, one.started.request.attempt):
                session.started = StreamId.parse(one.at)
        self._checkpoints += len(saved)

    def forget(self, executor: str) -> None:
        self._trimmed.pop(executor, None)

    def clear(self) -> None:
        self._trimmed.clear()

    def statistics(self) -> dict[str, int]:
        return {"checkpoints": self._checkpoints}


def _checkpoint(session: Session, read: Mapping[str, StreamId], steps: int) -> Checkpoint | None:
    """None unless it has run for so many steps since it was written down last."""
    if session.end or not (session.executor and session.started and session.entry):
        return None
    at = read.get(session.executor, ZERO)
    if at.minor - session.started.minor < steps:
        return None
    request = replace(session.so_far, attempt=session.attempt)
    return Checkpoint(session.executor, str(at), Started(str(session.entry.id), request))
