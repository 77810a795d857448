"""Spans of all services as Chrome's trace events (https://ui.perfetto.dev loads them). Pure.

A service is a process, a row of a lane a thread; times are microseconds since `otherData.base_s`, unix seconds. What a
request and a step have to do with each other is in their `args`, as ids of spans; from one service to another there are
flow arrows. `otherData` says what is missing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from services.gateway.timeline import device, lanes
from services.gateway.timeline.lanes import LANES, Rows, Slice
from services.gateway.timeline.rows import Row, Told

MOST_SLICES = 80_000
MOST_LINKS = 200_000
STEP_COST = 7  # slices that a step becomes
Event = dict[str, Any]


def trace(services: Sequence[Told], now_ns: int, seconds: float, request: str = "") -> bytes:
    """`request` is the digest of the one that is looked for."""
    wanted = _traces(services, request) if request else frozenset[str]()
    kept, cut = _newest(services, wanted)
    base_ns = min((device.begins(row) for told in kept for row in told.rows), default=now_ns) // 10**9 * 10**9
    document = {
        "traceEvents": list(_Writer(kept, base_ns).events()),
        "displayTimeUnit": "ms",
        "otherData": {
            "base_s": base_ns // 10**9,
            "now_us": (now_ns - base_ns) / 1000,
            "seconds": seconds,
            "cut": cut,  # older spans that had no room
            "services": [
                {"process": told.process, "kind": told.kind, "spans": len(told.rows), "problem": told.problem}
                for told in kept
            ],
            "request": {"digest": request, "traces": sorted(wanted)} if request else None,
        },
    }
    return orjson.dumps(document)


def _traces(services: Sequence[Told], request: str) -> frozenset[str]:
    return frozenset(
        row.trace for told in services for row in told.rows if row.attributes.get("sluice.request") == request
    )


def _newest(services: Sequence[Told], wanted: frozenset[str]) -> tuple[list[Told], int]:
    """As many as there is room for: those that are looked for, then the newest. And how many are left out."""
    everything = [(row.trace in wanted, row.end_ns, number, row) for number, t in enumerate(services) for row in t.rows]
    everything.sort(key=lambda one: one[:3], reverse=True)
    rows: list[list[Row]] = [[] for _ in services]
    room = MOST_SLICES
    for _, _, number, row in everything:
        room -= STEP_COST if row.name == "step" else 1 + len(row.events)
        if room < 0:
            break
        rows[number].append(row)
    return [told._replace(rows=one) for told, one in zip(services, rows, strict=True)], len(everything) - sum(
        map(len, rows)
    )


class _Writer:
    def __init__(self, services: Sequence[Told], base_ns: int) -> None:
        self._services = [told for told in services if told.kind != "bus"]
        self._base_ns = base_ns
        self._home = {row.span: told.process for told in services for row in told.rows}
        self._links = _pairs(services, self._home)
        self._children: dict[str, list[str]] = {}  # of each span, those in other services
        for told in self._services:
            for row in told.rows:
                if self._home.get(row.parent, told.process) != told.process:
                    self._children.setdefault(row.parent, []).append(row.span)

    def events(self) -> Iterator[Event]:
        for pid, told in enumerate(self._services, 1):
            yield _meta("process_name", pid, 0, name=told.process, kind=told.kind)
            yield _meta("process_sort_index", pid, 0, sort_index=pid)
            for number, (lane, rows) in enumerate(self._lanes(told)):
                for index, row in enumerate(rows):
                    tid = (number + 1) * 10_000 + index
                    name = lane if index == 0 else f"{lane} {index + 1}"
                    yield _meta("thread_name", pid, tid, name=name, lane=lane, row=index)
                    yield _meta("thread_sort_index", pid, tid, sort_index=tid)
                    for one in row:
                        yield from self._slice(one, told, pid, tid)

    def _lanes(self, told: Told) -> Iterator[tuple[str, Rows]]:
        spans = [row for row in told.rows if row.name == "step"]
        others = [row for row in told.rows if row.name != "step" and row.name not in lanes.ON_THE_BUS]
        gateways = (other for other in self._services if other.kind == "gateway" and told.kind == "engine")
        sends = {row.span: row for other in gateways for row in other.rows}
        drawn = (device.device(spans), device.steps(spans), lanes.bus(told.rows, sends), lanes.requests(others))
        return zip(LANES, drawn, strict=True)

    def _slice(self, one: Slice, told: Told, pid: int, tid: int) -> Iterator[Event]:
        row, where = one.row, {"pid": pid, "tid": tid}
        start_us, end_us = self._us(one.start_ns), self._us(one.end_ns)
        named = {"name": one.name, "cat": one.category, "ts": start_us, "dur": round(end_us - start_us, 3)}
        if one.category == "phase":
            yield {"ph": "X", **named, **where, "args": {"parent_id": row.parent}}
            return
        whole = one.category in ("request", "step") or one.name == row.name
        yield {"ph": "X", **named, **where, "args": self._args(one) if whole else self._short(one)}
        if not whole:
            return
        for event in row.events:
            at = {"ph": "i", "s": "t", "name": event.name, "cat": "event", "ts": self._us(event.at_ns)}
            yield {**at, **where, "args": {"span_id": row.span, **event.attributes}}
        if self._home.get(row.parent, told.process) != told.process:
            yield {"ph": "f", "bp": "e", "id": row.span, "name": "sent", "cat": "flow", "ts": start_us, **where}
        for child in self._children.get(row.span, ()):
            yield {"ph": "s", "id": child, "name": "sent", "cat": "flow", "ts": start_us, **where}

    def _args(self, one: Slice) -> Event:
        row = one.row
        args: Event = {"span_id": row.span, "trace_id": row.trace, "parent_id": row.parent, **row.attributes}
        if row.error:
            args["error"] = row.error
        if linked := self._links.get(row.span):
            args["steps" if row.name != "step" else "requests"] = linked
        return args

    def _short(self, one: Slice) -> Event:
        """What is drawn from another slice's span: its id, and what is not said there."""
        key = "step_id" if one.row.name == "step" else "span_id"
        return {key: one.row.span, **one.more}

    def _us(self, at_ns: int) -> float:
        return (at_ns - self._base_ns) / 1000


def _pairs(services: Iterable[Told], known: Mapping[str, str]) -> dict[str, list[str]]:
    """Requests and steps that have to do with each other, both ways, whichever of the two said so."""
    found: dict[str, dict[str, None]] = {}
    room = MOST_LINKS
    for told in services:
        for row in told.rows:
            for other in row.links:
                if other in known and room > 0:
                    room -= 1
                    found.setdefault(row.span, {})[other] = None
                    found.setdefault(other, {})[row.span] = None
    return {span: list(others) for span, others in found.items()}


def _meta(kind: str, pid: int, tid: int, /, **args: Any) -> Event:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": args}
