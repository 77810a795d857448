"""The one owner of what this process tells of requests: `detokenize` for each choice, and for an engine that died what
it could not tell itself. Spans are made when a request's part here ends.

A detokenizer that was started again reads the streams from their beginning, and their entries say when they were
written: so it tells the same as one that was always there.
"""

import time
from collections.abc import Iterable, Iterator, Sequence

from services.detokenizer.flows import Flow, Grave, Leg, Part, sent_ns
from services.detokenizer.instruments import Instruments
from services.detokenizer.session import Session
from shared.bus import Step
from shared.frames import Frame
from shared.messages import GenerateRequest
from shared.telemetry.metrics import Metrics
from shared.telemetry.recorder import Recorder, moment_ns
from shared.telemetry.spans import Attributes, Context, Span, now_ns, request_digest
from shared.types import ParentId

LONG_NS = 100_000_000  # a settling that takes longer has a span of its own


class Tracing:
    def __init__(self, recorder: Recorder, metrics: Metrics) -> None:
        self.instruments = Instruments(metrics)
        self._recorder = recorder
        self._flows: dict[ParentId, Flow] = {}
        self._heard_ns: dict[str, int] = {}  # each executor's last word
        self._tokens = 0
        recorder.tells_open(self._going_on)

    @classmethod
    def silent(cls) -> "Tracing":
        """For who has no telemetry around it."""
        return cls(Recorder("detokenizer"), Metrics("sluice_detokenizer"))

    # ---- what the owner reads
    def took(self, step: Step, started: Sequence[Session]) -> None:
        """An entry of a token stream, and the sessions that it began or went on with."""
        if step.at_ms:  # else nobody says, or it is the mark of an end
            self.instruments.read(step.at_ms)
            self._heard_ns[step.executor] = moment_ns(step.at_ms)
        for session in started:
            self.began(session, step.at_ms)

    def began(self, session: Session, at_ms: float = 0.0) -> None:
        """Its `Started` was written then; 0: not known."""
        request, at_ns = session.request, moment_ns(at_ms)
        flow = self._flows.setdefault(request.parent_id, Flow())
        part = flow.parts.setdefault(request.id, Part(session, at_ns))
        part.leg = Leg(session.executor or "", at_ns)

    def changed(self, parents: Iterable[ParentId], at_ms: float, tokens: int) -> None:
        """What was written then is new to these; `tokens` were accepted so far."""
        flows = self._flows
        for parent in parents if at_ms else ():
            if (flow := flows.get(parent)) is not None and not flow.written_ms:
                flow.written_ms = at_ms
        if tokens > self._tokens:
            self.instruments.tokens.inc(tokens - self._tokens)
        self._tokens = tokens

    def ended(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            flow = self._flows.get(session.request.parent_id)
            if flow is not None and (part := flow.parts.get(session.request.id)) is not None:
                part.ended_ns = now_ns()
                flow.ended.append(part)

    # ---- what goes out
    def wrote(self, frames: Iterable[Frame]) -> None:
        """One event of frames, to a gateway. Each says all that is new of its request."""
        now_ms, most_ms, flows = time.time() * 1000, 0.0, self._flows
        for frame in frames:
            if (flow := flows.get(frame.parent)) is None:
                continue
            if flow.written_ms and (lag_ms := flow.tell(now_ms)) > most_ms:
                most_ms = lag_ms
            if flow.ended:
                self._tell(flow)
        if most_ms:
            self.instruments.lagged(most_ms / 1000)

    def settled(self, session: Session) -> None:
        self.instruments.settled.labels(session.end.value if session.end else "").inc()
        flow = self._flows.get(session.request.parent_id)
        part = flow.parts.get(session.request.id) if flow else None
        if flow is None or part is None:
            return
        if not part.told:  # nobody reads it, or it is part of a whole answer
            self._finish(part.session.request, [part.detokenize(flow, now_ns())])
            part.told = True
        if part.ended_ns and now_ns() - part.ended_ns > LONG_NS:
            self._finish(part.session.request, [part.settle(now_ns())])

    def sweep(self) -> None:
        """What was settled, here or elsewhere, needs no memory."""
        for parent, flow in list(self._flows.items()):
            if all(part.session.settled for part in flow.parts.values()):
                del self._flows[parent]

    def forget(self, executor: str) -> None:
        self._heard_ns.pop(executor, None)

    # ---- what dies
    def leaves(self, request: GenerateRequest) -> None:
        """Its engine has ended; it will be queued again, or given up."""
        flow = self._flows.get(request.parent_id)
        if flow is not None and (part := flow.parts.get(request.id)) is not None:
            part.left, part.leg = part.leg, None

    def moved(self, old: GenerateRequest, new: GenerateRequest, executor: str | None, cause: str) -> None:
        """The entry `old`, which that executor held, is queued again as `new`."""
        self.instruments.handovers.labels(cause).inc()
        send, grave = Context.parse(old.traceparent), self._grave(old)
        if send is None:
            return
        start_ns = grave.last_ns if grave else sent_ns(old.sent_ms, old.arrived_ms)
        attributes: Attributes = {
            "sluice.request": request_digest(old.parent_id),
            "sluice.from": executor or "",
            "sluice.cause": cause,
            "sluice.attempt": new.attempt,
            "sluice.deaths": new.deaths,
            "sluice.tokens": len(new.output),
        }
        spans = [Span("hand-over", send.child(), send.span, start_ns, now_ns(), attributes)]
        if grave is not None and cause == "death":
            spans.insert(0, grave.generate())
        self._finish(old, spans)

    def poisoned(self, old: GenerateRequest) -> None:
        """It is given up."""
        self.instruments.poisoned.inc()
        if (grave := self._grave(old)) is not None:
            self._finish(old, [grave.generate()])

    def _grave(self, old: GenerateRequest) -> Grave | None:
        """None if its engine had not begun it, or nobody asked for a trace."""
        send, flow = Context.parse(old.traceparent), self._flows.get(old.parent_id)
        part = flow.parts.get(old.id) if flow else None
        if send is None or part is None or part.left is None:
            return None
        leg, part.left = part.left, None
        last_ns = self._heard_ns.get(leg.executor, leg.started_ns)
        digest, tokens = request_digest(old.parent_id), len(part.session.ids)
        return Grave(send, old.id, old.attempt, digest, tokens, leg, last_ns)

    # ---- spans
    def _tell(self, flow: Flow) -> None:
        """Of the choices whose end goes out now."""
        at_ns = now_ns()
        for part in flow.ended:
            if not part.told:
                part.told = True
                self._finish(part.session.request, [part.detokenize(flow, at_ns)])
        flow.ended.clear()

    def _finish(self, request: GenerateRequest, spans: Iterable[Span | None]) -> None:
        told = [span for span in spans if span is not None]
        for span in told:
            self._recorder.record(span)
        age_ns = now_ns() - sent_ns(float(request.arrived_ms), request.arrived_ms)
        if told:
            self._recorder.finish(told, sampled=told[0].context.sampled, age_ns=age_ns)

    def _going_on(self) -> Iterator[Span]:
        at_ns = now_ns()
        for flow in list(self._flows.values()):
            for part in flow.parts.values():
                if not part.told and (span := part.detokenize(flow, at_ns)) is not None:
                    yield span

    def statistics(self) -> dict[str, int]:
        return {"flows": len(self._flows), "executors": len(self._heard_ns)}
