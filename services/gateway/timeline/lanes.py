"""Spans of one service as lanes of slices: device, steps, bus, requests. Pure.

A lane has as many rows as it needs: within a row slices lie beside or inside each other, never across, because that is
all that a viewer can draw. A request keeps all its parts in one row, the lowest that is free for as long as it lasts.
A whole is drawn from its first part on: a request was in the queue before its engine took it.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from services.gateway.timeline.rows import Row

LANES = ("device", "steps", "bus", "requests")  # the last may have hundreds of rows
ON_THE_BUS = ("settle", "hand-over")
ROUNDING_NS = 2_000_000  # that a part may seem to last longer than the whole: they were measured by two clocks


class Slice(NamedTuple):
    name: str
    category: str  # request, step, phase, device, idle, bus: what a viewer may colour it by
    start_ns: int
    end_ns: int
    row: Row  # the span it tells of
    more: Mapping[str, Any] = {}


Rows = list[list[Slice]]


def requests(spans: Sequence[Row]) -> Rows:
    """Every request's tree of spans, in this service, in one row."""
    first: dict[str, int] = {}
    for row in spans:
        first[row.parent] = min(row.start_ns, first.get(row.parent, row.start_ns))
    starts = (min(row.start_ns, first.get(row.span, row.start_ns)) for row in spans)
    return packed(Slice(row.name, "request", at, row.end_ns, row) for row, at in zip(spans, starts, strict=True))


def packed(slices: Iterable[Slice]) -> Rows:
    """Greedy: the earliest first, each tree into the lowest free row. What lies across its own tree goes alone."""
    alone: list[list[Slice]] = []
    for tree in _trees(list(slices)):
        whole, across = _nested(tree)
        alone += [whole, *([one] for one in across)]
    rows: Rows = []
    busy: list[tuple[int, int]] = []  # until when, which row
    free: list[int] = []
    for group in sorted(alone, key=lambda group: group[0].start_ns):
        while busy and busy[0][0] <= group[0].start_ns:
            heapq.heappush(free, heapq.heappop(busy)[1])
        number = heapq.heappop(free) if free else len(rows)
        if number == len(rows):
            rows.append([])
        rows[number] += group
        heapq.heappush(busy, (max(one.end_ns for one in group), number))
    return rows


def _trees(slices: Sequence[Slice]) -> Iterator[list[Slice]]:
    """Those that have a parent here go with it."""
    known = {one.row.span: one for one in slices}
    roots: dict[str, str] = {}
    trees: defaultdict[str, list[Slice]] = defaultdict(list)
    for one in slices:
        path, at = [one.row.span], one.row
        while (parent := known.get(at.parent)) is not None and parent.row.span not in path and at.span not in roots:
            at = parent.row
            path.append(at.span)
        root = roots.get(at.span, at.span)
        roots.update(dict.fromkeys(path, root))
        trees[root].append(one)
    yield from trees.values()


def _nested(tree: list[Slice]) -> tuple[list[Slice], list[Slice]]:
    """The slices of a tree that lie inside each other, the outer ones first, and the others."""
    whole: list[Slice] = []
    across: list[Slice] = []
    around: list[int] = []  # ends of the slices that this one may lie in
    for one in sorted(tree, key=lambda one: (one.start_ns, -one.end_ns)):
        while around and around[-1] <= one.start_ns:
            around.pop()
        end_ns = one.end_ns
        if around and around[-1] < end_ns <= around[-1] + ROUNDING_NS:
            end_ns = around[-1]
        if around and end_ns > around[-1]:
            across.append(one)
            continue
        whole.append(one if end_ns == one.end_ns else one._replace(end_ns=end_ns))
        around.append(end_ns)
    return whole, across


def bus(spans: Iterable[Row], sends: Mapping[str, Row]) -> Rows:
    """What a service wrote there, and how long its requests were on their way: from `sends`, spans of other services,
    until they were taken here; a later attempt was on its way in the hand-over."""
    written = [Slice(row.name, "bus", row.start_ns, row.end_ns, row) for row in spans if row.name in ON_THE_BUS]
    travelled = [
        Slice("on the way", "bus", sent.start_ns, row.start_ns, row)
        for row in spans
        if row.name == "generate" and not row.attributes.get("sluice.attempt")
        if (sent := sends.get(row.parent)) is not None and sent.start_ns < row.start_ns
    ]
    return packed(one._replace(row=one.row._replace(parent="")) for one in (*written, *travelled))
