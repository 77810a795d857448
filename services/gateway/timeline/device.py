"""Steps of an engine, and from them what its device did: busy slices, and the gaps between them by their cause. Pure.

A step's span is the device's time. What the loop did for it lies around that, and its durations are attributes:

    plan ─ pack ┤ submitted ... launch ├─── device ───┤ commit

So those of neighbours overlap: step N+1 is planned while N runs. The gap is what lies before the device's part.
"""

from collections.abc import Iterable

from services.gateway.timeline.lanes import Rows, Slice, packed
from services.gateway.timeline.rows import Row

PREPARING = ("plan", "pack", "launch")
CAUSES = ("work", "plan", "submit", "bus", "loop")


def steps(spans: Iterable[Row]) -> Rows:
    """With their parts inside."""
    return packed(one for row in spans for one in _with_parts(row))


def device(spans: Iterable[Row]) -> Rows:
    """One row: a device does one step at a time, so what measurement makes overlap is cut."""
    found: list[Slice] = []
    for row in spans:
        gap_ns = _ns(row, "idle")
        if gap_ns > 0:
            cause = str(row.attributes.get("sluice.idle_cause", "")) or "unknown"
            found.append(Slice(f"idle: {cause}", "idle", row.start_ns - gap_ns, row.start_ns, row, {"cause": cause}))
        if _ns(row, "device") > 0:
            found.append(Slice(_name(row), "device", row.start_ns, row.end_ns, row))
    in_order: list[Slice] = []
    last_ns = 0
    for one in sorted(found, key=lambda one: (one.end_ns, one.start_ns)):
        start_ns = max(one.start_ns, last_ns)
        if start_ns < one.end_ns:
            in_order.append(one._replace(start_ns=start_ns))
            last_ns = one.end_ns
    return [in_order] if in_order else []


def begins(row: Row) -> int:
    """The first moment that is drawn of it."""
    return min(_planned_ns(row), row.start_ns - _ns(row, "idle")) if row.name == "step" else row.start_ns


def _submitted_ns(row: Row) -> int:
    return row.start_ns - _ns(row, "submitted", "_us_before")


def _planned_ns(row: Row) -> int:
    return _submitted_ns(row) - _ns(row, "plan") - _ns(row, "pack")


def _with_parts(row: Row) -> list[Slice]:
    """The launch is drawn where it may have been at the earliest: on a device of streams it lies behind the submit."""
    commit_ns, at_ns = _ns(row, "commit"), _planned_ns(row)
    parts = [Slice(_name(row), "step", at_ns, row.end_ns + commit_ns, row)]
    for name in PREPARING:
        part_ns = min(_ns(row, name), row.start_ns - at_ns)
        if part_ns > 0:
            parts.append(_part(row, name, at_ns, at_ns + part_ns))
            at_ns += part_ns
    if _ns(row, "device") > 0:
        parts.append(_part(row, "device", row.start_ns, row.end_ns))
    if commit_ns > 0:
        parts.append(_part(row, "commit", row.end_ns, row.end_ns + commit_ns))
    return parts


def _part(row: Row, name: str, start_ns: int, end_ns: int) -> Slice:
    """A part has no span of its own; its step is its parent."""
    return Slice(name, "phase", start_ns, end_ns, row._replace(span=f"{row.span}.{name}", parent=row.span))


def _name(row: Row) -> str:
    number = row.attributes.get("sluice.step")
    return "step" if number is None else f"step {number}"


def _ns(row: Row, part: str, unit: str = "_us") -> int:
    value = row.attributes.get(f"sluice.{part}{unit}", 0)
    return round(value * 1000) if isinstance(value, int | float) and 0 <= value < 1e12 else 0
