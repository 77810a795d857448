"""What one client request tells of itself while it is served: its phases, and the course of its answer.

    root      ├─ validate ─┼─ tokenize ─┼─ send requests ─┤ … engine …   ├─ relay ─┤
    follower  ├─ validate ─┼─ attach ───────────────────────────────────┼─ relay ─┤

A phase ends in the moment in which the next begins, so there are no holes. Nothing is told of the request's id, prompt
or answer: frames are counted, and the number of tokens is read from the last cursor.
"""

from collections.abc import Iterator, Sequence

from aiohttp import web

from shared.frames import Frame
from shared.messages import GenerateRequest
from shared.telemetry.spans import Context, Event, Kind, Span, Value, now_ns, request_digest

CLIENT_CLOSED = 499  # nginx's status: nobody is there to read it
OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}
PROVIDER = "sluice"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SEND, RELAY = "send requests", "relay"
STALL_NS = 10_000_000  # a write that waits so long for its client is told of
MOST_EVENTS = 32  # of them, each by itself; the others are counted
DONE = "data: [DONE]\n\n"


class Trace:
    """`route` is "" for an address that does not exist."""

    def __init__(self, method: str, route: str, context: Context, parent: str) -> None:
        self.context = context
        self.send = context.child()  # what the choices on the bus belong to
        self.route = route
        self.operation = OPERATIONS.get(route, "")
        self.model = ""
        self.generates = False  # and is not the reader of what another call has started
        self.streams = False
        self.error = ""
        self.start_ns = now_ns()
        self.first_ns = self.last_ns = 0  # frames with data
        self.first_tokens = 0  # of the output, when the first had come
        self.stalls: list[int] = []  # nanoseconds each
        self.phases: list[Span] = []
        method = method if method in METHODS else "_OTHER"
        self._name = f"{method} {route}".strip()
        self._parent = parent
        self._attributes: dict[str, Value] = {"http.request.method": method}
        if route:
            self._attributes["http.route"] = route
        if self.operation:
            self._attributes |= {"gen_ai.operation.name": self.operation, "gen_ai.provider.name": PROVIDER}
        self._phase: tuple[str, Context, Kind, dict[str, Value]] | None = None
        self._phase_ns = self.start_ns
        self._events: list[Event] = []
        self._frames = self._bytes = 0
        self._told: Frame | None = None  # the last that says how far the answer is
        self._enter("validate")

    # ---- what handlers say
    def tokenizes(self) -> None:
        self._enter("tokenize")

    def sends(self, requests: Sequence[GenerateRequest]) -> None:
        """The choices go to the bus now."""
        one = requests[0]
        self.generates, self.streams, self.model = True, one.render.stream, one.render.model
        self._attributes |= _asked(requests)
        attributes: dict[str, Value] = {
            "messaging.system": "redis",
            "messaging.operation.type": "send",
            "messaging.destination.name": f"requests:{one.lane}",
            "messaging.batch.message_count": len(requests),
        }
        self._enter(SEND, self.send, Kind.PRODUCER, attributes)

    def sent(self) -> None:
        """They are there: what follows until the first frame is the engine's to tell."""
        self._leave(now_ns())

    def follows(self, parent: str) -> None:
        """What another call has started is read."""
        self._attributes["sluice.request"] = request_digest(parent)
        self._enter("attach")

    def cancels(self, parent: str) -> None:
        self._attributes["sluice.request"] = request_digest(parent)
        destination: dict[str, Value] = {"messaging.system": "redis", "messaging.destination.name": "control"}
        self._enter("send cancel", kind=Kind.PRODUCER, attributes=destination)

    def took(self, frame: Frame) -> None:
        """A frame is here; the first begins the relay."""
        at_ns = now_ns()
        if not self._frames:
            self._enter(RELAY)
        self._frames += 1
        if frame.cursor:
            self._told = frame
        if frame.data and frame.status == 200:
            if not self.first_ns:
                self.first_ns, self.first_tokens = at_ns, self.tokens
            self.last_ns = at_ns
        if frame.status != 200:
            self.error = "cancelled" if frame.status == CLIENT_CLOSED else str(frame.status)
        elif frame.last and self.streams and frame.data and not frame.data.endswith(DONE):
            self.error = "stream_error"

    def poured(self, frame: Frame, size: int) -> None:
        """The same of a frame that was written at once; it is not the last."""
        if not (self.first_ns and frame.data):
            self.took(frame)
        else:
            self._frames += 1
            self._told, self.last_ns = frame, now_ns()
        self._bytes += size

    def wrote(self, size: int, began_ns: int) -> None:
        """So many bytes have gone to the client."""
        self._bytes += size
        took_ns = now_ns() - began_ns
        if took_ns >= STALL_NS:
            self.stalls.append(took_ns)
            if len(self._events) < MOST_EVENTS:
                self._events.append(Event("write stalled", began_ns, {"sluice.ms": round(took_ns / 1e6, 3)}))

    # ---- what becomes of it
    @property
    def tokens(self) -> int:
        """Of the output, so far: a cursor counts those of each choice, and one more for its end."""
        if self._told is None:
            return 0
        offsets = [int(offset) for offset in self._told.cursor.split(",") if offset.isascii() and offset.isdigit()]
        return max(0, sum(offsets) - (len(offsets) if self._told.last else 0))

    def spans(self, end_ns: int, status: int | None = None) -> Iterator[Span]:
        """All of them, the root last. `status` is the answer's; None while it goes on."""
        if status is not None:
            self._leave(end_ns)
        yield from self.phases
        if self._phase is not None:
            yield self._current(end_ns)
        attributes = self._attributes | self._answered()
        if status is not None:
            attributes["http.response.status_code"] = status
        if self.error:
            attributes["error.type"] = self.error
        failed = self.error if self.error and (status is None or status >= 500 or self.error == "stream_error") else ""
        yield Span(self._name, self.context, self._parent, self.start_ns, end_ns, attributes, Kind.SERVER, error=failed)

    def _answered(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        if self.generates:
            found |= {"gen_ai.response.model": self.model, "gen_ai.usage.output_tokens": self.tokens}
            if self.first_ns and self.streams:
                found["gen_ai.response.time_to_first_chunk"] = (self.first_ns - self.start_ns) / 1e9
        return found

    def _enter(
        self,
        name: str,
        context: Context | None = None,
        kind: Kind = Kind.INTERNAL,
        attributes: dict[str, Value] | None = None,
    ) -> None:
        at_ns = now_ns() if self.phases or self._phase else self.start_ns
        self._leave(at_ns)
        self._phase, self._phase_ns = (name, context or self.context.child(), kind, attributes or {}), at_ns

    def _leave(self, at_ns: int) -> None:
        if self._phase is not None:
            self.phases.append(self._current(at_ns))
            self._phase = None

    def _current(self, end_ns: int) -> Span:
        assert self._phase is not None
        name, context, kind, attributes = self._phase
        events: tuple[Event, ...] = ()
        if name == RELAY:
            counts = {"sluice.frames": self._frames, "sluice.bytes": self._bytes, "sluice.stalls": len(self.stalls)}
            attributes, events = attributes | counts, tuple(self._events)
        return Span(name, context, self.context.span, self._phase_ns, end_ns, attributes, kind, events)


def _asked(requests: Sequence[GenerateRequest]) -> dict[str, Value]:
    """What was asked for, the defaults filled in."""
    one, sampling = requests[0], requests[0].sampling
    asked: dict[str, Value] = {
        "gen_ai.request.model": one.render.model,
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.top_k": sampling.top_k,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.request.choice.count": len(requests),
        "gen_ai.request.stream": one.render.stream,
        "gen_ai.usage.input_tokens": one.render.prompt_tokens,
        "sluice.request": request_digest(one.parent_id),
        "sluice.lane": one.lane,
    }
    return asked


TRACE = web.RequestKey("trace", Trace)
