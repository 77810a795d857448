"""What services tell at `/debug/spans`, as docs/telemetry.md has it: a second of decoding, and the requests in it."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import orjson

from shared.telemetry.spans import request_digest

MS = 1_000_000
CAUSES = ("plan", "submit", "bus", "work", "loop")


def hexed(*words: object, size: int = 8) -> str:
    return blake2b(" ".join(map(str, words)).encode(), digest_size=size).hexdigest()


def a_span(name: str, start_ns: int, end_ns: int, *, of: object = "t", parent: str = "", **more: Any) -> dict[str, Any]:
    """`of` is what its trace and its own id are made from."""
    return {
        "name": name,
        "trace": hexed("trace", of, size=16),
        "span": hexed(of, name, start_ns),
        "parent": parent,
        "start": start_ns,
        "end": end_ns,
        "kind": 0,
        "attributes": {},
        **more,
    }


def body(lane: str, instance: str, spans: list[dict[str, Any]], **more: Any) -> bytes:
    return orjson.dumps({"lane": lane, "instance": instance, "spans": spans, **more})


def a_second(now_ns: int, requests: int = 6, steps: int = 60, first: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Spans of a gateway, an engine and a detokenizer that ended before `now_ns`.

    Request r is of the id `id-r`; the least r and step are `first`."""
    begin_ns = now_ns - 1000 * MS
    engine = list(_steps(begin_ns, first, steps))
    gateway: list[dict[str, Any]] = []
    detokenizer: list[dict[str, Any]] = []
    for number in range(first, first + requests):
        start_ns = begin_ns + (number - first) * 120 * MS
        took_ns = (300 + 40 * (number % 3)) * MS
        gateway += _asked(number, start_ns, took_ns)
        send = gateway[-2]
        engine += _generated(number, send, start_ns, took_ns, engine[:steps])
        generate = next(span for span in reversed(engine) if span["name"] == "generate")
        detokenizer.append(
            a_span("detokenize", start_ns + 6 * MS, start_ns + took_ns - MS, of=number, parent=generate["span"])
        )
    return {"gateway": gateway, "engine": engine, "detokenizer": detokenizer}


def _steps(begin_ns: int, first: int, count: int) -> Iterator[dict[str, Any]]:
    """Each 16 ms apart, planned while the one before runs; every tenth has a gap before it."""
    for step in range(count):
        idle_us = 2500 if step % 10 == 9 else 120
        end_ns = begin_ns + (step + 2) * 16 * MS
        more = {
            **{
                "sluice.step": first + step,
                "sluice.rows": 24,
                "sluice.tokens": 24,
                "sluice.plan_us": 400,
                "sluice.pack_us": 90,
            },
            **{"sluice.launch_us": 300, "sluice.commit_us": 250, "sluice.idle_us": idle_us},
            **{"sluice.device_us": 16_000 - idle_us, "sluice.idle_cause": CAUSES[step // 10 % 5]},
            "sluice.submitted_us_before": 12_000,
        }
        start_ns = end_ns - (16_000 - idle_us) * 1000
        yield a_span("step", start_ns, end_ns, of=f"step {first + step}", attributes=more)


def _asked(number: int, start_ns: int, took_ns: int) -> Iterator[dict[str, Any]]:
    end_ns = start_ns + took_ns
    known = {"sluice.request": request_digest(f"id-{number}"), "gen_ai.request.model": "tiny", "http.route": "/v1"}
    root = a_span("POST /v1/chat/completions", start_ns, end_ns, of=number, attributes=known)
    parts = [("validate", 0, 1), ("tokenize", 1, 2), ("send requests", 2, 4)]
    yield root
    for name, first, last in parts:
        yield a_span(name, start_ns + first * MS, start_ns + last * MS, of=number, parent=root["span"])
    yield a_span("relay", start_ns + 4 * MS, end_ns, of=number, parent=root["span"])


def _generated(
    number: int, send: dict[str, Any], start_ns: int, took_ns: int, steps: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    taken_ns, end_ns = start_ns + 5 * MS, start_ns + took_ns - 2 * MS
    ran = [one for one in steps if one["start"] < end_ns and one["end"] > taken_ns]
    known = {"sluice.request": request_digest(f"id-{number}"), "gen_ai.usage.output_tokens": len(ran)}
    links = [[one["trace"], one["span"]] for one in ran]
    whole = a_span("generate", taken_ns, end_ns, of=number, parent=send["span"], attributes=known, links=links)
    first = [["first token", taken_ns + 40 * MS, {}]]
    yield a_span("queue", taken_ns, taken_ns + 10 * MS, of=number, parent=whole["span"])
    yield a_span("prefill", taken_ns + 10 * MS, taken_ns + 40 * MS, of=number, parent=whole["span"])
    yield a_span("decode", taken_ns + 40 * MS, end_ns, of=number, parent=whole["span"], events=first)
    yield whole
