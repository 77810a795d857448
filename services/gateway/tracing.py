"""The one owner of the traces of requests that are open here: begun when a request comes, told when it has ended.

The context is the client's (`traceparent`) or a new one. Spans are kept until the request has ended and told at once.
"""

from collections.abc import Iterator

from services.gateway.instruments import Instruments
from services.gateway.trace import Trace
from shared.telemetry.recorder import Recorder
from shared.telemetry.sampling import Sampler
from shared.telemetry.spans import Context, Span, now_ns


class Tracing:
    def __init__(self, recorder: Recorder, instruments: Instruments, sampler: Sampler) -> None:
        self.instruments = instruments
        self._recorder = recorder
        self._sampler = sampler
        self._open: dict[Trace, None] = {}
        recorder.tells_open(self._going_on)

    def begin(self, method: str, route: str, traceparent: str | None) -> Trace:
        parent = Context.parse(traceparent)
        context = parent.child() if parent else Context.new(sampled=False)
        context = context._replace(sampled=self._sampler(context.trace, parent))
        trace = Trace(method, route, context, parent.span if parent else "")
        self._open[trace] = None
        return trace

    def end(self, trace: Trace, status: int) -> None:
        del self._open[trace]
        end_ns = now_ns()
        if status >= 400 and not trace.error:
            trace.error = str(status)
        spans = list(trace.spans(end_ns, status))
        for span in spans:
            self._recorder.record(span)
        self._recorder.finish(spans, sampled=trace.context.sampled, age_ns=end_ns - trace.start_ns)
        self.instruments.ended(trace, status, end_ns)

    def _going_on(self) -> Iterator[Span]:
        for trace in list(self._open):
            yield from trace.spans(now_ns())
