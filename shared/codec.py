"""Messages to bytes and back. JSON, so that an operator can read the bus; short keys, because tokens are many.

A token stream's entry is `{"s": [started...], "t": [[id, attempt, offset, [ids]]...], "f": [[id, attempt, offset,
reason, detail]...], "x": [drained]}`: of one request, its start comes before its tokens, and those before its end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import orjson

from shared.messages import (
    Born,
    Cancel,
    Control,
    EngineStatus,
    Finished,
    GenerateRequest,
    Outcome,
    Record,
    RenderSpec,
    ShardStatus,
    Started,
    Tokens,
    Tombstone,
)
from shared.types import FinishReason, SamplingParams, TokenIds

T = TypeVar("T", EngineStatus, ShardStatus)


class Malformed(ValueError):
    """Bytes that none of our encoders wrote."""


def encode_request(request: GenerateRequest) -> bytes:
    return orjson.dumps(request)


def decode_request(data: bytes) -> GenerateRequest:
    return _request(_object(data))


def encode_outcome(outcome: Outcome) -> bytes:
    return orjson.dumps(outcome)


def decode_outcome(data: bytes) -> Outcome:
    o = _object(data)
    return Outcome(_request(o["request"]), FinishReason(o["reason"]), o["text"], o["detail"])


def encode_records(records: Sequence[Record]) -> bytes:
    started: list[Any] = []
    tokens: list[Any] = []
    finished: list[Any] = []
    tombstones: list[Any] = []
    for record in records:
        match record:
            case Tokens(id, attempt, offset, ids):
                tokens.append((id, attempt, offset, ids))
            case Started(entry, request):
                started.append((entry, request))
            case Finished(id, attempt, offset, reason, detail):
                finished.append((id, attempt, offset, reason, detail))
            case Tombstone(drained):
                tombstones.append(drained)
    parts = {"s": started, "t": tokens, "f": finished, "x": tombstones}
    return orjson.dumps({key: rows for key, rows in parts.items() if rows})


def decode_records(data: bytes) -> tuple[Record, ...]:
    parts = _object(data)
    started: list[Record] = [Started(entry, _request(request)) for entry, request in parts.get("s", ())]
    tokens: list[Record] = [Tokens(i, a, offset, tuple(ids)) for i, a, offset, ids in parts.get("t", ())]
    ended: list[Record] = [Finished(i, a, o, FinishReason(r), detail) for i, a, o, r, detail in parts.get("f", ())]
    return (*started, *tokens, *ended, *map(Tombstone, parts.get("x", ())))


def encode_control(message: Control) -> bytes:
    match message:
        case Cancel(id, reason):
            return orjson.dumps({"cancel": id, "reason": reason})
        case Born(executor):
            return orjson.dumps({"born": executor})


def decode_control(data: bytes) -> Control:
    match _object(data):
        case {"cancel": str(id), "reason": str(reason)}:
            return Cancel(id, reason)
        case {"born": str(executor)}:
            return Born(executor)
        case other:
            raise Malformed(f"no control message: {other}")


def encode_status(status: EngineStatus | ShardStatus) -> bytes:
    return orjson.dumps(status)


def decode_status(kind: type[T], data: bytes) -> T:
    """Fields of a newer version are passed over: during a rolling upgrade both versions read each other's leases."""
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in _object(data).items() if name in known})


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Malformed(str(error)) from None
    if not isinstance(value, dict):
        raise Malformed(f"not an object: {data[:80]!r}")
    return value


def _request(value: Mapping[str, Any]) -> GenerateRequest:
    sampling = dict(value["sampling"])
    sampling["stop_ids"] = tuple(sampling["stop_ids"])
    render = dict(value["render"])
    render["stop"] = tuple(render["stop"])
    rest = {k: v for k, v in value.items() if k not in ("sampling", "render", "prompt", "output")}
    return GenerateRequest(
        **rest,
        prompt=_ids(value["prompt"]),
        output=_ids(value["output"]),
        sampling=SamplingParams(**sampling),
        render=RenderSpec(**render),
    )


def _ids(value: Any) -> TokenIds:
    if not isinstance(value, list) or not all(type(id) is int for id in value):
        raise Malformed("token ids must be a list of whole numbers")
    return tuple(value)
