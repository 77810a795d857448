"""What the services tell of their work: spans, metrics, and the way of both out of the process.

    hot path ── Span (a tuple) ──▶ Recorder ──▶ ring: the last seconds, for /debug/timeline
                                       └──────▶ Exporter ── lines of JSON ──▶ otlp.py (a process) ──▶ a collector

Nothing of OpenTelemetry's SDK is imported where requests are served: a span costs it 26 us, an append here costs one.
"""
