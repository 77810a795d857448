"""Steps of an engine, and from them what its device did: busy slices, and the gaps between them by their cause. Pure.

A step's span lasts from its plan until it is committed, so those of neighbours overlap: step N+1 is planned while N
runs. Durations of its parts are attributes; the first three lie at its start, one behind the other, and the commit at
its end. The device's part ends where the commit begins, and the gap is what lies before that part.
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
        begin_ns, end_ns = _on_device(row)
        gap_ns = _ns(row, "idle")
        if gap_ns > 0:
            cause = str(row.attributes.get("sluice.idle_cause", "")) or "unknown"
            found.append(Slice(f"idle: {cause}", "idle", begin_ns - gap_ns, begin_ns, row, {"cause": cause}))
        if end_ns > begin_ns:
            found.append(Slice(_name(row), "device", begin_ns, end_ns, row))
    in_order: list[Slice] = []
    last_ns = 0
    for one in sorted(found, key=lambda one: (one.end_ns, one.start_ns)):
        start_ns = max(one.start_ns, last_ns)
        if start_ns < one.end_ns:
            in_order.append(one._replace(start_ns=start_ns))
            last_ns = one.end_ns
    return [in_order] if in_order else []


def _with_parts(row: Row) -> list[Slice]:
    whole = Slice(_name(row), "step", row.start_ns, row.end_ns, row)
    parts, at_ns = [whole], row.start_ns
    for name in PREPARING:
        if (part_ns := _ns(row, name)) > 0 and at_ns + part_ns <= row.end_ns:
            parts.append(_part(row, name, at_ns, at_ns + part_ns))
            at_ns += part_ns
    commit_ns = min(_ns(row, "commit"), row.end_ns - at_ns)
    begin_ns, end_ns = _on_device(row)
    if at_ns <= begin_ns < end_ns <= row.end_ns - commit_ns:
        parts.append(_part(row, "device", begin_ns, end_ns))
    if commit_ns > 0:
        parts.append(_part(row, "commit", row.end_ns - commit_ns, row.end_ns))
    return parts


def _part(row: Row, name: str, start_ns: int, end_ns: int) -> Slice:
    """A part has no span of its own; its step is its parent."""
    return Slice(name, "phase", start_ns, end_ns, row._replace(span=f"{row.span}.{name}", parent=row.span))


def _on_device(row: Row) -> tuple[int, int]:
    end_ns = max(row.start_ns, row.end_ns - _ns(row, "commit"))
    return max(row.start_ns, end_ns - _ns(row, "device")), end_ns


def _name(row: Row) -> str:
    number = row.attributes.get("sluice.step")
    return "step" if number is None else f"step {number}"


def _ns(row: Row, part: str) -> int:
    value = row.attributes.get(f"sluice.{part}_us", 0)
    return round(value * 1000) if isinstance(value, int | float) and 0 <= value < 1e12 else 0
