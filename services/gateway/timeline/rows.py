"""What a service answered, as spans that can be believed: types, ids and times are checked, all else is left out.

A service that lies, or speaks another version, costs its own lanes and nothing else.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from services.gateway.timeline.collection import Answer

MOST_TEXT, MOST_ATTRIBUTES, MOST_EVENTS, MOST_LINKS = 400, 64, 64, 256
EARLY_NS, LATE_NS = 60 * 10**9, 60 * 10**9  # that another machine's clock may differ
LONGEST_NS = 7 * 86_400 * 10**9
_TRACE, _SPAN = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")
Value = str | bool | int | float | list[str]


class Event(NamedTuple):
    name: str
    at_ns: int
    attributes: Mapping[str, Value]


class Row(NamedTuple):
    """A span of some service; times are unix nanoseconds."""

    name: str
    trace: str
    span: str
    parent: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    events: tuple[Event, ...] = ()
    links: tuple[str, ...] = ()  # ids of spans
    error: str = ""


class Told(NamedTuple):
    """A service and its spans. `problem` is for people, "" if there is none."""

    process: str
    kind: str
    rows: list[Row]
    problem: str = ""


def told(answer: Answer, start_ns: int, now_ns: int) -> Told:
    """Spans that ended between `start_ns` and `now_ns`, give or take a clock."""
    if answer.problem:
        return Told(answer.process, answer.kind, [], answer.problem)
    try:
        spoken = orjson.loads(answer.body)
        said = spoken["spans"]
        if not isinstance(said, list):
            raise TypeError
    except (ValueError, TypeError, KeyError):
        return Told(answer.process, answer.kind, [], "says something that is no list of spans")
    read = [row(one) for one in said]
    good = [one for one in read if one is not None]
    now = [one for one in good if start_ns - EARLY_NS <= one.end_ns <= now_ns + LATE_NS]
    return Told(
        answer.process, answer.kind, now, _problem(spoken.get("cut"), len(read) - len(good), len(good), len(now))
    )


def _problem(cut: Any, unread: int, good: int, timely: int) -> str:
    parts = []
    if type(cut) is int and cut > 0:
        parts.append(f"{cut} older spans had no room")
    if unread:
        parts.append(f"{unread} spans cannot be read")
    if timely < good:
        parts.append(f"{good - timely} spans are of another time: is its clock right?")
    return "; ".join(parts)


def row(value: Any) -> Row | None:
    """None for what is no span."""
    try:
        name, trace, span, parent = value["name"], value["trace"], value["span"], value["parent"]
        start_ns, end_ns = value["start"], value["end"]
        if not (_TRACE.fullmatch(trace) and _SPAN.fullmatch(span) and (parent == "" or _SPAN.fullmatch(parent))):
            return None
        if type(start_ns) is not int or type(end_ns) is not int or not 0 <= end_ns - start_ns <= LONGEST_NS:
            return None
        if not isinstance(name, str):
            return None
        attributes = _attributes(value.get("attributes", {}))
        events = tuple(_event(one, start_ns, end_ns) for one in value.get("events", ())[:MOST_EVENTS])
        links = tuple(_link(one) for one in value.get("links", ())[:MOST_LINKS])
        error = str(value.get("error", ""))[:MOST_TEXT]
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return Row(name[:MOST_TEXT], trace, span, parent, start_ns, end_ns, attributes, events, links, error)


def _attributes(value: Any) -> dict[str, Value]:
    if len(value) > MOST_ATTRIBUTES:
        value = dict(list(value.items())[:MOST_ATTRIBUTES])
    return {str(name)[:MOST_TEXT]: _plain(one) for name, one in value.items()}


def _plain(value: Any) -> Value:
    if type(value) in (int, float, bool):
        return value  # type: ignore[no-any-return]  # one of these three
    if isinstance(value, list):
        return [str(one)[:MOST_TEXT] for one in value[:MOST_ATTRIBUTES]]
    return str(value)[:MOST_TEXT]


def _event(value: Any, start_ns: int, end_ns: int) -> Event:
    name, at_ns, attributes = value
    if type(at_ns) is not int:
        raise TypeError
    return Event(str(name)[:MOST_TEXT], min(max(at_ns, start_ns), end_ns), _attributes(attributes))


def _link(value: Any) -> str:
    _, span = value
    if not _SPAN.fullmatch(span):
        raise ValueError
    return str(span)
