"""The one owner of sessions: which tokens count (PROTOCOL 8), and which choices belong together.

An attempt is bound to the executor of its first `Started`; tokens count only from that executor, of that attempt, at
exactly the next offset. What is known already and what older attempts say is dropped, so any stream may be read again.
"""

import logging
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace

from services.detokenizer.cancels import FAILED, STOPPED
from services.detokenizer.decode import Vocabulary
from services.detokenizer.render import Group, render
from services.detokenizer.session import Session
from shared.bus import Entry, Step, StreamId
from shared.frames import Frame
from shared.messages import Cached, Checkpoint, Finished, GenerateRequest, Outcome, Started, Tokens, Tombstone
from shared.telemetry.spans import request_digest
from shared.types import FinishReason, ParentId, RequestId, Score, TokenIds, request_id

log = logging.getLogger("sluice.detokenizer")
Scores = tuple[Score, ...]


@dataclass(slots=True)
class News:
    """What some steps brought."""

    changed: dict[ParentId, None] = field(default_factory=dict)  # in order: those with something new to show
    started: list[Session] = field(default_factory=list)
    ended: list[Session] = field(default_factory=list)
    overrun: dict[str, str] = field(default_factory=dict)  # what ended here while engines run it -> why
    gaps: set[str] = field(default_factory=set)  # executors whose stream must be read again from its start


class Sessions:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._sessions: dict[RequestId, Session] = {}
        self._groups: dict[ParentId, Group] = {}
        self.tokens = 0  # accepted so far

    def __contains__(self, parent: ParentId) -> bool:
        return parent in self._groups

    def get(self, id: RequestId) -> Session | None:
        return self._sessions.get(id)

    def frame(self, parent: ParentId, cursor: str) -> Frame | None:
        """What this parent's reader has not seen; None if there is nothing, or not yet."""
        group = self._groups.get(parent)
        return render(group, cursor) if group else None

    def consume(self, step: Step, news: News) -> None:
        """Take what an entry of a token stream says. A record that breaks something fails its own request only."""
        for record in step.records:
            if isinstance(record, Tombstone):
                continue  # says nothing of any request
            try:
                self._consume(step.executor, step.id, record, news)
            except Exception:
                broken = record.request.id if isinstance(record, Started) else record.id
                digest = request_digest(broken.rpartition(".")[0])
                log.exception("cannot take a %s of request %s", type(record).__name__, digest)
                if session := self._sessions.get(broken):
                    self._finish(session, FinishReason.ERROR, "the answer could not be written", news)
                    news.overrun[broken] = FAILED

    def _consume(self, executor: str, at: StreamId, record: Started | Cached | Tokens | Finished, news: News) -> None:
        if isinstance(record, Tokens):  # nearly always, and there is no shorter way to take it apart
            id, attempt, offset, ids, scores, prompt_scores = record
            if session := self._bound(id, attempt, offset, executor, news):
                known = len(session.ids) - offset
                self._accept(session, ids[known:], scores[known:], prompt_scores, news)
            return
        match record:
            case Started():
                self._start(executor, at, _entry(record), record.request, news)
            case Cached(id, attempt, found):
                if not attempt and (session := self._bound(id, attempt, 0, executor, news)):
                    session.cached = found
            case Finished(id, attempt, offset, reason, detail):
                if session := self._bound(id, attempt, offset, executor, news):
                    self._finish(session, reason, detail, news)

    def _bound(self, id: RequestId, attempt: int, offset: int, executor: str, news: News) -> Session | None:
        """The session for which this record counts."""
        session = self._sessions.get(id)
        if session is None or session.end or session.attempt != attempt or session.executor != executor:
            return None
        if offset > len(session.ids):
            news.gaps.add(executor)
            return None
        return session

    def _start(self, executor: str, at: StreamId, entry: Entry, request: GenerateRequest, news: News) -> None:
        session = self._sessions.get(request.id)
        if session is None:
            session = Session(request.unanswered, self._vocabulary, entry)
            self._place(session)
        elif session.end:
            if (session.executor, session.started) != (executor, at):
                news.overrun[request.id] = STOPPED
            return
        elif request.attempt < session.attempt or (request.attempt == session.attempt and session.executor):
            return
        session.entry, session.attempt, session.executor, session.started = entry, request.attempt, executor, at
        session.request = replace(session.request, traceparent=request.traceparent)  # of this attempt
        session.adrift = False
        news.started.append(session)
        known = len(session.ids)
        self._accept(session, request.output[known:], request.scores[known:], request.prompt_scores, news)

    def _place(self, session: Session) -> Group:
        """Put a session into its group, which it may be the first of."""
        request = session.request
        group = self._groups.get(request.parent_id)
        if group is None:
            group = Group(request.parent_id, request.render, [None] * request.render.choices)
        group.choices[request.index] = session
        self._groups[request.parent_id] = group
        self._sessions[request.id] = session
        return group

    def _accept(self, session: Session, ids: TokenIds, scores: Scores, prompt_scores: Scores, news: News) -> None:
        before = len(session.ids)
        session.accept(ids, scores, prompt_scores)
        self.tokens += len(session.ids) - before
        news.changed[session.request.parent_id] = None
        if session.end:  # a stop string
            news.ended.append(session)
            news.overrun[session.request.id] = STOPPED

    def _finish(self, session: Session, reason: FinishReason, detail: str, news: News) -> None:
        if not session.end:
            session.finish(reason, detail)
            news.ended.append(session)
            if reason is FinishReason.ERROR and session.request.render.choices > 1:
                news.overrun[session.request.parent_id] = FAILED  # its client's answer has ended with it
        news.changed[session.request.parent_id] = None

    def runs_on(self, executor: str) -> bool:
        """Is a session that is not settled bound to this executor?"""
        return any(session.executor == executor and not session.settled for session in self._sessions.values())

    def withdraw(
        self, entries: Mapping[Entry, GenerateRequest], news: News, reason: FinishReason = FinishReason.CANCEL
    ) -> None:
        """End requests that no engine has taken, as far as the bus knew; one that has is told when it starts."""
        for entry, request in entries.items():
            try:
                self._withdraw(entry, request, news, reason)
            except Exception:
                log.exception("cannot withdraw request %s", request_digest(request.parent_id))

    def _withdraw(self, entry: Entry, request: GenerateRequest, news: News, reason: FinishReason) -> None:
        session = self._sessions.get(request.id)
        if session is None:
            session = Session(request.unanswered, self._vocabulary, entry)
            self._place(session)
        if session.executor is None and not session.end:
            session.entry = entry
            session.catch_up(request)
            self._finish(session, reason, "", news)

    # ---- what the bus remembers, and what may be forgotten
    def unsettled(self) -> list[Session]:
        return [session for session in self._sessions.values() if not session.settled]

    def resume(self, checkpoint: Checkpoint, news: News) -> None:
        """A long request as another owner wrote it down; what follows is in the token stream (PROTOCOL 13)."""
        request = checkpoint.started.request
        if request.id not in self._sessions:
            at = StreamId.parse(checkpoint.at)
            self._start(checkpoint.executor, at, _entry(checkpoint.started), request, news)

    def rewind(self) -> list[Session]:
        """The bus may have come back older (PROTOCOL 10): what had ended is to be settled again, and is returned; the
        rest runs again, as a newer attempt than any there was."""
        for group in self._groups.values():
            group.settled_s = None
        for session in self._sessions.values():
            session.settled = False
            if not session.end:
                session.release(session.attempt + 1)
                session.adrift = True
        return [session for session in self._sessions.values() if session.end]

    def missing(self) -> list[RequestId]:
        """Choices of known parents that this process has not seen start."""
        return [
            request_id(parent, index)
            for parent, group in self._groups.items()
            for index, choice in enumerate(group.choices)
            if choice is None
        ]

    def restore(self, outcome: Outcome, now_s: float) -> ParentId:
        """A request is settled, as its outcome says; a session that knows less learns it."""
        request = outcome.request
        session = self._sessions.get(request.id)
        if session is None:
            session = Session(request, self._vocabulary, None)
            self._place(session)
        session.catch_up(request)
        session.finish(outcome.reason, outcome.detail)
        self.settle(session, now_s)
        return request.parent_id

    def lose(self, id: RequestId, now_s: float) -> ParentId:
        """A request is gone from the bus, and so is its outcome: its client hears of it."""
        parent, _, index = id.rpartition(".")
        like = next(iter(self._groups[parent].started)).request
        request = replace(like.unanswered, id=id, index=int(index))
        return self.restore(Outcome(request, FinishReason.ERROR, "", "the answer is no longer kept"), now_s)

    def settle(self, session: Session, now_s: float) -> None:
        """Its outcome is on the bus."""
        session.settled = True
        group = self._groups[session.request.parent_id]
        if group.ended and all(choice.settled for choice in group.started):
            group.settled_s = now_s

    def forget(self, settled_before_s: float, most: int, read: Container[ParentId] = ()) -> None:
        """Drop parents that were settled before then, and the oldest of them beyond `most`: outcomes have them. Those
        that are being `read` stay."""
        done = [g for g in self._groups.values() if g.settled_s is not None and g.parent not in read]
        for position, group in enumerate(done):
            if position < len(done) - most or (group.settled_s or 0.0) < settled_before_s:
                del self._groups[group.parent]
                for choice in group.started:
                    del self._sessions[choice.request.id]

    def statistics(self) -> dict[str, int]:
        live = sum(session.end is None for session in self._sessions.values())
        return {"parents": len(self._groups), "sessions": len(self._sessions), "live": live, "tokens": self.tokens}


def _entry(started: Started) -> Entry:
    return Entry(started.request.lane, StreamId.parse(started.entry))
