"""What is remembered of a client's request for its spans: when each choice began here, how late its text was told.

Nothing is done for a token: an entry marks the parents it changed, a frame that goes out takes the mark.
"""

from dataclasses import dataclass, field

from services.detokenizer.session import Session
from shared.telemetry.recorder import moment_ns
from shared.telemetry.spans import Attributes, Context, Kind, Span, named_span_id, request_digest
from shared.types import RequestId


@dataclass(slots=True)
class Leg:
    """An attempt of a choice, as its engine's `Started` tells it."""

    executor: str
    started_ns: int


@dataclass(slots=True)
class Part:
    """One choice."""

    session: Session
    began_ns: int
    leg: Leg | None = None  # the attempt that runs
    left: Leg | None = None  # the one whose engine has ended, until it is queued again
    ended_ns: int = 0
    told: bool = False  # its span was recorded

    def detokenize(self, flow: "Flow", end_ns: int) -> Span | None:
        """None if nobody asked for a trace."""
        request = self.session.request
        if (parent := Context.parse(request.traceparent)) is None:
            return None
        attributes: Attributes = {
            "sluice.request": request_digest(request.parent_id),
            "sluice.choice": request.index,
            "sluice.tokens": len(self.session.ids),
            "sluice.lag_max_ms": round(flow.most_ms, 3),
            "sluice.lag_mean_ms": round(flow.sum_ms / flow.count, 3) if flow.count else 0.0,
        }
        return Span("detokenize", parent.child(), parent.span, self.began_ns, end_ns, attributes)

    def settle(self, end_ns: int) -> Span | None:
        if (parent := Context.parse(self.session.request.traceparent)) is None:
            return None
        return Span("settle", parent.child(), parent.span, self.ended_ns, end_ns)


@dataclass(slots=True)
class Flow:
    """All choices of one client request. The lag of its frames is theirs together."""

    parts: dict[RequestId, Part] = field(default_factory=dict)
    ended: list[Part] = field(default_factory=list)  # whose end the next frame tells
    written_ms: float = 0.0  # of the oldest entry that no frame has told yet; 0: none
    most_ms: float = 0.0
    sum_ms: float = 0.0
    count: int = 0

    def tell(self, now_ms: float) -> float:
        """A frame with all that is new goes out. Returns its lag."""
        lag_ms = now_ms - self.written_ms
        if lag_ms < 0.0:  # by another machine's clock
            lag_ms = 0.0
        self.written_ms = 0.0
        if lag_ms > self.most_ms:
            self.most_ms = lag_ms
        self.sum_ms += lag_ms
        self.count += 1
        return lag_ms


@dataclass(frozen=True, slots=True)
class Grave:
    """What is known of an attempt whose engine died. `id` and `attempt` name the span that it could not write."""

    send: Context
    id: RequestId
    attempt: int
    digest: str
    tokens: int
    leg: Leg
    last_ns: int  # its engine's last word

    def generate(self) -> Span:
        span = named_span_id(self.send.trace, "generate", self.id, self.attempt)
        attributes: Attributes = {
            "messaging.system": "redis",
            "messaging.operation.type": "process",
            "sluice.request": self.digest,
            "sluice.engine": self.leg.executor,
            "sluice.attempt": self.attempt,
            "sluice.interrupted": True,
            "gen_ai.usage.output_tokens": self.tokens,
        }
        context, start_ns = self.send.child(span), self.leg.started_ns
        end_ns = max(start_ns, self.last_ns)
        error = "the engine died"
        return Span("generate", context, self.send.span, start_ns, end_ns, attributes, Kind.CONSUMER, error=error)


def sent_ns(sent_ms: float, arrived_ms: int) -> int:
    """When a request was queued; older gateways tell only when it came."""
    return moment_ns(sent_ms or float(arrived_ms))
