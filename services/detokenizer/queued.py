"""What ends before any engine has taken it: cancelled in the queue, or late there. Its entry goes with its settling."""

from services.detokenizer.cancels import Cancels
from services.detokenizer.sessions import News, Sessions
from shared.bus import Snapshot
from shared.types import FinishReason


def end_queued(snapshot: Snapshot, cancels: Cancels, sessions: Sessions, now_ms: int) -> News:
    """`now_ms`: of the bus's clock, in which deadlines are told (PROTOCOL 14)."""
    queued = {entry: request for entry, request in snapshot.entries.items() if entry not in snapshot.pending}
    late = {e: r for e, r in queued.items() if r.deadline_ms is not None and r.deadline_ms <= now_ms}
    news = News()
    sessions.withdraw({e: r for e, r in queued.items() if cancels.wanted(r)}, news)
    sessions.withdraw(late, news, FinishReason.TIMEOUT)
    return news
