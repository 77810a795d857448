"""Spans as JSON: for the exporter's process, and for the gateway's look at all services (`/debug/spans`)."""

from collections.abc import Iterable
from typing import Any

import orjson

from shared.telemetry.spans import Span


def rows(spans: Iterable[Span], offset_ns: int) -> list[dict[str, Any]]:
    """Times become unix nanoseconds: `offset_ns` is added to each."""
    return [_row(span, offset_ns) for span in spans]


def listed(spans: Iterable[Span], offset_ns: int) -> bytes:
    """Those rows as a part of a list: without its brackets."""
    return orjson.dumps(rows(spans, offset_ns), default=_plain)[1:-1]


def line(**fields: Any) -> bytes:
    """One line, whatever is in it."""
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE, default=_plain)


def _row(span: Span, offset_ns: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": span.name,
        "trace": span.context.trace,
        "span": span.context.span,
        "parent": span.parent,
        "start": span.start_ns + offset_ns,
        "end": span.end_ns + offset_ns,
        "kind": int(span.kind),
        "attributes": dict(span.attributes),
    }
    if span.events:
        row["events"] = [(event.name, event.at_ns + offset_ns, dict(event.attributes)) for event in span.events]
    if span.links:
        row["links"] = [(link.trace, link.span) for link in span.links]
    if span.error:
        row["error"] = span.error
    return row


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # a number of numpy's
        return value.item()
    return str(value)


def said(text: bytes) -> dict[str, int]:
    """What the exporter's process counts; nothing for a line that is not its own."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return {str(name): int(count) for name, count in value.items()} if isinstance(value, dict) else {}
