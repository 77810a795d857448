"""What a gateway measures; docs/telemetry.md has the table."""

import time

from services.gateway.trace import PROVIDER, RELAY, SEND, Trace
from shared.telemetry.metrics import DURATION_S, FIRST_TOKEN_S, HOP_S, PER_TOKEN_S, Metrics

PHASES = {"validate": "validate", "tokenize": "tokenize", SEND: "send", RELAY: "relay"}
UNKNOWN = "unknown"  # route


class Instruments:
    def __init__(self, metrics: Metrics) -> None:
        names = ("gen_ai_operation_name", "gen_ai_request_model", "gen_ai_provider_name")
        of = "gen_ai_server"
        self._duration = metrics.histogram(
            f"{of}_request_duration_seconds", "From request to last byte", (*names, "error_type"), buckets=DURATION_S
        )
        self._first_token = metrics.histogram(
            f"{of}_time_to_first_token_seconds", "To the first text of a stream", names, buckets=FIRST_TOKEN_S
        )
        self._per_token = metrics.histogram(
            f"{of}_time_per_output_token_seconds", "Between a stream's tokens", names, buckets=PER_TOKEN_S
        )
        self._requests = metrics.counter("requests_total", "Answers", ("route", "status"))
        phase = metrics.histogram("phase_seconds", "Of a request here", ("phase",), buckets=FIRST_TOKEN_S)
        self._phases = {name: phase.labels(label) for name, label in PHASES.items()}
        self._stalls = metrics.histogram(
            "write_stall_seconds", "Writes that waited for a client", buckets=FIRST_TOKEN_S
        )
        hop = metrics.histogram("hop_seconds", "From a detokenizer's write to here", ("hop",), buckets=HOP_S)
        self._frames = hop.labels("frames")
        self._cancelled = metrics.counter("cancelled_total", "Requests that were cancelled from here", ("reason",))

    def heard(self, written_ms: float) -> None:
        """An event of frames has come, written at that unix time."""
        self._frames.observe(max(0.0, time.time() - written_ms / 1000))

    def cancelled(self, reason: str) -> None:
        """`reason` is one of ours."""
        self._cancelled.labels(reason).inc()

    def ended(self, trace: Trace, status: int, end_ns: int) -> None:
        self._requests.labels(trace.route or UNKNOWN, str(status)).inc()
        for span in trace.phases:
            if (phase := self._phases.get(span.name)) is not None:
                phase.observe((span.end_ns - span.start_ns) / 1e9)
        for took_ns in trace.stalls:
            self._stalls.observe(took_ns / 1e9)
        if not trace.operation or (trace.model and not trace.generates):
            return
        names = (trace.operation, trace.model, PROVIDER)
        self._duration.labels(*names, trace.error).observe((end_ns - trace.start_ns) / 1e9)
        if trace.streams and trace.first_ns:
            self._first_token.labels(*names).observe((trace.first_ns - trace.start_ns) / 1e9)
            if (more := trace.tokens - trace.first_tokens) > 0:
                self._per_token.labels(*names).observe((trace.last_ns - trace.first_ns) / 1e9 / more)
