"""What a detokenizer measures; docs/telemetry.md has the table."""

import time

from shared.telemetry.metrics import HOP_S, Metrics


class Instruments:
    def __init__(self, metrics: Metrics) -> None:
        self._hop = metrics.histogram("hop_seconds", "From an engine's write to here", ("hop",), buckets=HOP_S)
        self._tokens_hop = self._hop.labels("tokens")
        self._lag = metrics.histogram("lag_seconds", "From an engine's write to the gateway's frames", buckets=HOP_S)
        self.handovers = metrics.counter("handovers_total", "Requests queued again", ("cause",))
        self.fences = metrics.counter("fences_total", "Engines whose streams were ended here")
        self.poisoned = metrics.counter("poisoned_total", "Requests given up, as every engine died of them")
        self.settled = metrics.counter("settled_total", "Requests by how they ended", ("reason",))
        self.tokens = metrics.counter("tokens_total", "Tokens accepted")

    def read(self, written_ms: float) -> None:
        """An entry of a token stream, written at that unix time."""
        self._tokens_hop.observe(max(0.0, time.time() - written_ms / 1000))

    def lagged(self, seconds: float) -> None:
        """An event of frames goes out; the oldest entry in it was written so long ago."""
        self._lag.observe(seconds)
