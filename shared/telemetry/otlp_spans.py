"""A row of `wire.py` as one of the SDK's spans; for `otlp.py` alone.

The SDK's limits hold here (128 attributes, events and links of a span): recorders keep to them, and what is beyond is
cut and said, never silently lost by a collector.
"""

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

MOST = 128
SCOPE = InstrumentationScope("sluice")
KINDS = {0: SpanKind.INTERNAL, 1: SpanKind.SERVER, 2: SpanKind.CLIENT, 3: SpanKind.PRODUCER, 4: SpanKind.CONSUMER}


def readable(row: Mapping[str, Any], resource: Resource) -> ReadableSpan:
    events, links = row.get("events", ()), row.get("links", ())
    attributes = dict(row["attributes"])
    for name, all_of_them in (("events", events), ("links", links)):
        if len(all_of_them) > MOST:
            attributes[f"sluice.{name}_cut"] = len(all_of_them) - MOST
    return ReadableSpan(
        name=row["name"],
        context=_context(row["trace"], row["span"]),
        parent=_context(row["trace"], row["parent"]) if row["parent"] else None,
        resource=resource,
        attributes=attributes,
        events=[Event(name, more, timestamp=at) for name, at, more in events[:MOST]],
        links=[Link(_context(trace, span)) for trace, span in links[:MOST]],
        kind=KINDS[row["kind"]],
        status=Status(StatusCode.ERROR, row["error"]) if "error" in row else Status(),
        start_time=row["start"],
        end_time=row["end"],
        instrumentation_scope=SCOPE,
    )


def _context(trace: str, span: str) -> SpanContext:
    return SpanContext(int(trace, 16), int(span, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
