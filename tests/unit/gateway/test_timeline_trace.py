"""From what services say to a trace that Perfetto draws: lanes, gaps by cause, links, bounds, lies."""

import time
from itertools import pairwise
from typing import Any

import orjson
import pytest

from services.gateway.timeline import trace as module
from services.gateway.timeline.collection import Answer, Kind
from services.gateway.timeline.rows import told
from services.gateway.timeline.trace import trace
from shared.telemetry.spans import request_digest
from tests.unit.gateway.timeline_cases import MS, a_second, a_span, body

NOW = time.time_ns()
SECOND = a_second(NOW)


def made(spans: dict[str, list[dict[str, Any]]], request: str = "", now_ns: int = NOW) -> dict[str, Any]:
    kinds: tuple[Kind, ...] = ("gateway", "engine", "detokenizer")
    answers = [Answer(kind, f"{kind[0]}1", body(kind, "x", spans[kind])) for kind in kinds if kind in spans]
    services = [told(answer, now_ns - 10 * 10**9, now_ns) for answer in answers]
    document: dict[str, Any] = orjson.loads(trace(services, now_ns, 10.0, request and request_digest(request)))
    return document


def slices(document: dict[str, Any], process: str, lane: str) -> list[list[dict[str, Any]]]:
    """Of each row of a lane."""
    events = document["traceEvents"]
    [pid] = [e["pid"] for e in events if e["name"] == "process_name" and e["args"]["name"] == process]
    rows = [e["tid"] for e in events if e["name"] == "thread_name" and e["pid"] == pid and e["args"]["lane"] == lane]
    return [[e for e in events if e["ph"] == "X" and (e["pid"], e["tid"]) == (pid, tid)] for tid in rows]


def test_every_service_is_a_process_with_its_lanes() -> None:
    document = made(SECOND)
    names = [e["args"]["name"] for e in document["traceEvents"] if e["name"] == "process_name"]
    assert names == ["gateway g1", "engine e1", "detokenizer d1"]
    assert [len(slices(document, "engine e1", lane)) for lane in ("steps", "device")] == [2, 1]
    assert len(slices(document, "gateway g1", "requests")) == 4, "four requests at a time, four rows"
    assert len(slices(document, "gateway g1", "steps")) == 0
    assert document["otherData"]["services"][1] == {
        "process": "engine e1",
        "kind": "engine",
        "spans": 84,
        "problem": "",
    }


def test_slices_of_a_row_lie_beside_or_inside_each_other() -> None:
    """All that a viewer can draw; and no request hides another."""
    document = made(SECOND)
    rows: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in document["traceEvents"]:
        if event["ph"] == "X":
            rows.setdefault((event["pid"], event["tid"]), []).append((event["ts"], -event["dur"]))
    for row in rows.values():
        ends: list[float] = []
        for start, negative in sorted(row):
            while ends and ends[-1] <= start + 1e-3:
                ends.pop()
            assert not ends or start - negative <= ends[-1] + 1e-3
            ends.append(start - negative)


def test_a_requests_parts_share_its_row() -> None:
    for row in slices(made(SECOND), "gateway g1", "requests"):
        names = [one["name"] for one in sorted(row, key=lambda one: (one["ts"], -one["dur"]))]
        assert names[5:] in ([], names[:5])
        assert names[:5] == ["POST /v1/chat/completions", "validate", "tokenize", "send requests", "relay"]


def test_the_device_is_busy_or_idle_for_a_reason() -> None:
    [row] = slices(made(SECOND), "engine e1", "device")
    idle = [one for one in row if one["cat"] == "idle"]
    assert sorted({one["args"]["cause"] for one in idle}) == ["bus", "loop", "plan", "submit", "work"]
    assert {one["name"] for one in idle} == {f"idle: {one['args']['cause']}" for one in idle}
    long = [one["dur"] for one in idle if one["dur"] > 1000]
    assert long == [2500.0] * 6
    busy = sum(one["dur"] for one in row if one["cat"] == "device")
    assert busy == pytest.approx(60 * 16_000 - 54 * 120 - 6 * 2500)
    for one, after in pairwise(sorted(row, key=lambda one: one["ts"])):
        assert one["ts"] + one["dur"] <= after["ts"] + 1e-3


def test_what_the_loop_did_for_a_step_lies_around_the_devices_time() -> None:
    """A step's span is the device's time; it was planned and submitted before, while the one before ran."""
    document = made(SECOND)
    [busy] = slices(document, "engine e1", "device")
    began = {one["args"]["step_id"]: (one["ts"], one["ts"] + one["dur"]) for one in busy if one["cat"] == "device"}
    for row in slices(document, "engine e1", "steps"):
        for step in (one for one in row if one["cat"] == "step"):
            parts = {e["name"]: e for e in row if e["args"].get("parent_id") == step["args"]["span_id"]}
            start, end = began[step["args"]["span_id"]]
            assert list(parts) == ["plan", "pack", "launch", "device", "commit"]
            assert parts["plan"]["ts"] == step["ts"] == pytest.approx(start - 12_000 - 400 - 90, abs=0.01)
            assert (parts["device"]["ts"], parts["commit"]["ts"]) == pytest.approx((start, end), abs=0.01)


def test_a_whole_is_drawn_from_its_first_part_on() -> None:
    """A request waits in the queue before its engine takes it: both are in one row."""
    whole = a_span("generate", NOW - 60 * MS, NOW - 10 * MS)
    queue = a_span("queue", NOW - 100 * MS, NOW - 50 * MS, parent=whole["span"])
    [[first, second]] = slices(made({"engine": [queue, whole]}), "engine e1", "requests")
    assert (first["name"], first["dur"], second["name"], second["dur"]) == ("generate", 90_000, "queue", 50_000)


def test_requests_and_steps_name_each_other_and_arrows_lead_from_service_to_service() -> None:
    document = made(SECOND)
    generates = [one for row in slices(document, "engine e1", "requests") for one in row if one["name"] == "generate"]
    steps = {
        one["args"]["span_id"]: one
        for row in slices(document, "engine e1", "steps")
        for one in row
        if one["cat"] == "step"
    }
    for one in generates:
        for step in one["args"]["steps"]:
            assert one["args"]["span_id"] in steps[step]["args"]["requests"]
    starts = {e["id"] for e in document["traceEvents"] if e["ph"] == "s"}
    ends = {e["id"] for e in document["traceEvents"] if e["ph"] == "f"}
    assert starts == ends and {one["args"]["span_id"] for one in generates} <= starts
    assert len(starts) == 12


def test_the_way_over_the_bus_is_a_slice_of_its_own() -> None:
    ways = [one for row in slices(made(SECOND), "engine e1", "bus") for one in row]
    assert [one["dur"] for one in ways] == [3000.0] * 6


def test_a_request_is_found_by_its_digest_and_its_id_is_nowhere() -> None:
    document = made(SECOND, "id-3")
    told = document["otherData"]["request"]
    assert told["digest"] == request_digest("id-3") and len(told["traces"]) == 1
    assert b"id-3" not in orjson.dumps(document)
    assert made(SECOND, "id-99")["otherData"]["request"]["traces"] == []


def test_the_newest_are_kept_and_what_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has a bound, and says what is missing."""
    monkeypatch.setattr(module, "MOST_SLICES", 40)
    document = made(SECOND, "id-0")
    spans = [e["args"] for e in document["traceEvents"] if e["ph"] == "X" and "span_id" in e["args"]]
    assert sum(args.get("trace_id") in document["otherData"]["request"]["traces"] for args in spans) == 10
    whole = sum(len(rows) for rows in SECOND.values())
    kept = sum(service["spans"] for service in document["otherData"]["services"])
    assert document["otherData"]["cut"] == whole - kept > 50


def test_an_error_is_told() -> None:
    spans = {"engine": [a_span("generate", NOW - MS, NOW, error="out of memory")]}
    [[one]] = slices(made(spans), "engine e1", "requests")
    assert one["args"]["error"] == "out of memory"


def test_a_part_that_lies_across_its_whole_gets_a_row_of_its_own_unless_it_is_rounding() -> None:
    whole = a_span("whole", NOW - 100 * MS, NOW - 50 * MS)
    late = a_span("late", NOW - 60 * MS, NOW - 40 * MS, parent=whole["span"])
    near = a_span("near", NOW - 70 * MS, NOW - 49 * MS, parent=whole["span"])
    assert len(slices(made({"engine": [late, whole]}), "engine e1", "requests")) == 2
    [[_, clipped]] = slices(made({"engine": [whole, near]}), "engine e1", "requests")
    assert clipped["dur"] == 20_000


def test_spans_that_call_each_other_parents_are_drawn_and_end_nothing() -> None:
    one, other = a_span("one", NOW - 9 * MS, NOW), a_span("other", NOW - 8 * MS, NOW)
    one["parent"], other["parent"] = other["span"], one["span"]
    drawn = [s["name"] for row in slices(made({"engine": [one, other]}), "engine e1", "requests") for s in row]
    assert sorted(drawn) == ["one", "other"]


GOOD = a_span("good", NOW - MS, NOW)
LIES: list[Any] = [
    *(None, 5, "x", [], {}, GOOD | {"trace": "x"}, GOOD | {"span": 5}, GOOD | {"parent": "zz"}),
    *(GOOD | {"start": "now"}, GOOD | {"start": NOW + MS}, GOOD | {"end": True}, GOOD | {"name": ["x"]}),
    *(GOOD | {"attributes": [1]}, GOOD | {"events": [[1]]}, GOOD | {"links": [["a", "b"]]}, GOOD | {"links": 7}),
]


@pytest.mark.parametrize("lie", LIES, ids=range(len(LIES)))
def test_what_is_no_span_is_left_out_and_said(lie: Any) -> None:
    found = told(Answer("engine", "e1", body("engine", "x", [lie, GOOD])), NOW - 10**9, NOW)
    assert [row.name for row in found.rows] == ["good"]
    assert "1 spans cannot be read" in found.problem


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"{}", b'{"spans": 5}', b"null", b"\xff"])
def test_an_answer_that_is_no_list_of_spans_is_said(data: bytes) -> None:
    assert told(Answer("engine", "e1", data), 0, NOW) == (
        "engine e1",
        "engine",
        [],
        "says something that is no list of spans",
    )


def test_spans_of_another_time_are_left_out_and_what_had_no_room_is_said() -> None:
    """A clock that is wrong by an hour would stretch everybody's picture."""
    late = a_span("late", NOW, NOW + 3600 * 10**9)
    found = told(Answer("engine", "e1", body("engine", "x", [late, GOOD], cut=7)), NOW - 10**9, NOW)
    assert [row.name for row in found.rows] == ["good"]
    assert "7 older spans had no room" in found.problem and "is its clock right?" in found.problem


def test_a_huge_attribute_is_cut() -> None:
    wild = {"a": "x" * 10_000, "b": {"c": 1}, "d": ["y"] * 999, "e": None, **{f"k{n}": n for n in range(500)}}
    [row] = told(Answer("engine", "e1", body("engine", "x", [GOOD | {"attributes": wild}])), 0, NOW).rows
    assert len(row.attributes) == 64 and len(str(row.attributes["a"])) == 400
    assert isinstance(row.attributes["b"], str)
