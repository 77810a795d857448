"""What became of each request that this engine holds, written down as it happens and told as spans when it ends.

    generate   taken ───────────────────────────────────────────────▶ ended
    leaves     queue ─▶ prefill (a chunk each) ─▶ decode

A request is touched when it is taken, seated, computed in a chunk, preempted and ended; never for a token it draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.engine.core.step import Seated, StepPlan
from services.engine.measures import Measures
from shared.messages import GenerateRequest
from shared.telemetry.recorder import Recorder, wall_offset_ns
from shared.telemetry.spans import Context, Event, Kind, Span, Value, named_span_id, now_ns, request_digest
from shared.types import FinishReason, RequestId

MOST = 128  # links and events of a span: the SDK's limit
FAILED = (FinishReason.ERROR, FinishReason.TIMEOUT)
Chunk = tuple["Track", int, bool, int]  # whose, tokens, draws its first token, when it was planned


@dataclass(eq=False, slots=True)
class Track:
    """One request, from here. Moments are monotonic nanoseconds; 0: not yet."""

    request: GenerateRequest
    context: Context  # of its `generate` span
    parent: str
    sent_ns: int
    taken_ns: int
    row: int = -1
    seated_step: int = -1
    waits_ns: int = 0  # since when it waits for a row; 0: it has one
    planned_ns: int = 0  # first
    chunk_end_ns: int = 0
    first_ns: int = 0
    cached: int = 0
    preemptions: int = 0
    spans: list[Span] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    links: list[Context] = field(default_factory=list)

    def event(self, name: str, at_ns: int) -> None:
        if len(self.events) < MOST:
            self.events.append(Event(name, at_ns))

    def link(self, step: Context) -> None:
        if len(self.links) < MOST:
            self.links.append(step)


class Tracks:
    """`engine` is what this process calls itself."""

    def __init__(self, recorder: Recorder, measures: Measures, engine: str) -> None:
        self._recorder = recorder
        self._measures = measures
        self._engine = engine
        self._tracks: dict[RequestId, Track] = {}
        self._rows: dict[int, Track] = {}
        recorder.tells_open(self._open)

    # ---- what the inbox, the ledger and the loop say
    def taken(self, request: GenerateRequest) -> None:
        given = Context.parse(request.traceparent) or Context.new(sampled=False)
        span = named_span_id(given.trace, "generate", request.id, request.attempt)
        at_ns = now_ns()
        sent_ns = min(at_ns, round(request.sent_ms * 1e6) - wall_offset_ns()) if request.sent_ms else at_ns
        parent = given.span if request.traceparent else ""
        track = Track(request, given.child(span), parent, sent_ns, at_ns, waits_ns=sent_ns)
        self._tracks[request.id] = track
        self._measures.hop.observe((at_ns - sent_ns) / 1e9)

    def traceparent(self, id: RequestId) -> str | None:
        """Under which others tell of it; None if nobody asked for a trace."""
        track = self._tracks.get(id)
        return str(track.context) if track is not None and track.parent else None

    def planned(self, plan: StepPlan, at_ns: int) -> Sequence[Chunk]:
        """A step was planned. Returns its chunks, to be handed to `computed` when it has ended."""
        for id in plan.preempted:
            if (track := self._tracks.get(id)) is not None:
                track.preemptions += 1
                track.row, track.waits_ns, track.chunk_end_ns = -1, at_ns, 0
                track.event("preempted", at_ns)
        for seat in plan.seated:
            self._seat(seat, plan.step, at_ns)
        chunks = plan.work[len(plan.work) - plan.chunks :]
        return [(t, w.count, w.samples, at_ns) for w in chunks if (t := self._rows.get(w.row)) is not None]

    def _seat(self, seat: Seated, step: int, at_ns: int) -> None:
        track = self._tracks.get(seat.id)
        if track is None:
            self._rows.pop(seat.row, None)
            return
        self._rows[seat.row] = track
        if track.planned_ns:
            track.event("resumed", at_ns)
        else:
            track.planned_ns, track.cached = at_ns, seat.cached
            self._measures.queue[track.request.lane].observe((at_ns - track.sent_ns) / 1e9)
            self._measures.cached.inc(seat.cached)
            self._measures.computed.inc(seat.known - seat.cached)
        self._leaf(track, "queue", track.waits_ns, at_ns, {"sluice.lane": track.request.lane})
        track.row, track.seated_step, track.waits_ns = seat.row, step, 0

    def computed(self, chunks: Sequence[Chunk], step: int, at_ns: int) -> None:
        """The step that these were part of has ended."""
        for track, tokens, draws, planned_ns in chunks:
            start_ns = track.chunk_end_ns or planned_ns  # one joins the other, whatever is planned ahead
            end_ns = max(at_ns, start_ns)  # a simulated device makes up for late timers, and may end before its plan
            self._leaf(track, "prefill", start_ns, end_ns, {"sluice.tokens": tokens, "sluice.step": step})
            track.chunk_end_ns = end_ns
            if draws and not track.first_ns:
                track.first_ns = end_ns
                self._measures.first_token.observe((end_ns - track.taken_ns) / 1e9)
                self._measures.prefill.observe((end_ns - track.planned_ns) / 1e9)

    def sampled(self, plan: StepPlan) -> list[Track]:
        """Those in a step that are traced; it was planned last, or its rows may be others' by now."""
        rows = (self._rows.get(work.row) for work in plan.work)
        return [t for t in rows if t is not None and t.context.sampled and t.seated_step <= plan.step]

    def aside(self, id: RequestId) -> None:
        """It lost its place for a trial, and waits again."""
        if (track := self._tracks.get(id)) is not None:
            track.row, track.waits_ns, track.chunk_end_ns = -1, now_ns(), 0
            track.event("set aside", track.waits_ns)

    def ended(self, id: RequestId, reason: str, tokens: int, detail: str = "") -> None:
        """`tokens`: of the output, as far as this engine has brought it."""
        track = self._tracks.pop(id, None)
        if track is None:
            return
        at_ns = now_ns()
        if self._rows.get(track.row) is track:
            del self._rows[track.row]
        if track.waits_ns:
            self._leaf(track, "queue", track.waits_ns, at_ns, {"sluice.lane": track.request.lane})
        elif track.first_ns:
            self._decoded(track, tokens, at_ns)
        self._count(track, reason, tokens, at_ns)
        whole = self._whole(track, at_ns, reason, tokens, detail)
        self._recorder.record(whole)
        age_ns = at_ns - track.sent_ns
        self._recorder.finish((*track.spans, whole), sampled=track.context.sampled, age_ns=age_ns)

    def end_all(self) -> None:
        """The life in which they were taken is over."""
        for id in list(self._tracks):
            self.ended(id, "fenced", 0, "this engine was ended by others; the request goes on elsewhere")

    def statistics(self) -> dict[str, int]:
        return {"held": len(self._tracks)}

    # ---- spans
    def _leaf(self, track: Track, name: str, start_ns: int, end_ns: int, attributes: dict[str, Value]) -> None:
        span = Span(name, track.context.child(), track.context.span, start_ns, end_ns, attributes)
        self._recorder.record(span)
        if len(track.spans) < MOST:
            track.spans.append(span)

    def _decoded(self, track: Track, tokens: int, at_ns: int) -> None:
        events = (Event("first token", track.first_ns), *track.events[: MOST - 2], Event("last token", at_ns))
        attributes: dict[str, Value] = {"sluice.tokens": tokens}
        span = Span(
            "decode", track.context.child(), track.context.span, track.first_ns, at_ns, attributes, events=events
        )
        self._recorder.record(span)
        track.spans.append(span)

    def _whole(self, track: Track, at_ns: int, reason: str, tokens: int, detail: str = "") -> Span:
        request = track.request
        attributes: dict[str, Value] = {
            "messaging.system": "redis",
            "messaging.operation.type": "process",
            "messaging.destination.name": f"requests:{request.lane}",
            "gen_ai.request.model": request.render.model,
            "gen_ai.usage.input_tokens": len(request.prompt),
            "gen_ai.usage.output_tokens": tokens,
            "gen_ai.usage.cache_read.input_tokens": track.cached,
            "gen_ai.response.finish_reasons": (reason,),
            "sluice.request": request_digest(request.parent_id),
            "sluice.choice": request.index,
            "sluice.engine": self._engine,
            "sluice.attempt": request.attempt,
            "sluice.preemptions": track.preemptions,
        }
        failed = reason in FAILED or reason == "fenced"
        return Span(
            "generate",
            track.context,
            track.parent,
            track.taken_ns,
            at_ns,
            attributes,
            Kind.CONSUMER,
            tuple(track.events),
            tuple(track.links),
            error=(detail or reason) if failed else "",
        )

    def _open(self) -> Iterator[Span]:
        at_ns = now_ns()
        for track in list(self._tracks.values()):
            yield self._whole(track, at_ns, "running", 0)
            if track.waits_ns:
                yield Span("queue", track.context.child(), track.context.span, track.waits_ns, at_ns)
            elif track.first_ns:
                yield Span("decode", track.context.child(), track.context.span, track.first_ns, at_ns)

    def _count(self, track: Track, reason: str, tokens: int, at_ns: int) -> None:
        measures, request = self._measures, track.request
        measures.ended[reason].inc()
        measures.prompt.observe(len(request.prompt))
        measures.generation.observe(tokens)
        measures.most.observe(request.sampling.max_tokens)
        measures.preempted.observe(track.preemptions)
        if not request.index:
            measures.choices.observe(request.render.choices)
        if track.planned_ns:
            measures.inference.observe((at_ns - track.planned_ns) / 1e9)
        if track.first_ns:
            measures.decode.observe((at_ns - track.first_ns) / 1e9)
