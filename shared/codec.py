"""Messages to bytes and back. JSON, so that an operator can read the bus; short keys, because tokens are many.

A token stream's entry is `{"w": unix ms, "s": [started...], "t": [[id, attempt, offset, [ids]]...], "f": [[id, attempt,
offset, reason, detail]...], "x": [drained]}`: of one request, its start comes before its tokens, those before its end.
"c": [[id, attempt, cached tokens]...] stands beside "s"; a version that does not know it passes it over.
A row of "t" has a fifth element, a score for each id, if the request wants logprobs; its first row has a sixth, of the
prompt, if it wants those too.
`w` is when it was written, for telemetry only: an entry without it, or with another one, says the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, TypeVar

import orjson

from shared.messages import (
    Born,
    Cached,
    Cancel,
    Checkpoint,
    Control,
    EngineStatus,
    Finished,
    GatewayStatus,
    GenerateRequest,
    Outcome,
    Record,
    ShardStatus,
    Started,
    Tokens,
    Tombstone,
)
from shared.shapes import MOST_ID, built, exactly, number, text, token_ids
from shared.shapes import Malformed as Malformed
from shared.types import MAX_CHOICES, FinishReason, Score, request_id

T = TypeVar("T", EngineStatus, GatewayStatus, ShardStatus)
MOST_MS = 1e14  # of unix time; the year 5138


def encode_request(request: GenerateRequest) -> bytes:
    return _sparsely(request)


def decode_request(data: bytes) -> GenerateRequest:
    return _request(_object(data))


def encode_outcome(outcome: Outcome) -> bytes:
    return _sparsely(outcome)


def decode_outcome(data: bytes) -> Outcome:
    outcome = built(Outcome, _object(data))
    _check(outcome.request)
    return outcome


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    return _sparsely(checkpoint)


def decode_checkpoint(data: bytes) -> Checkpoint:
    checkpoint = built(Checkpoint, _object(data))
    _check(checkpoint.started.request)
    _check_id(checkpoint.at)
    _check_id(checkpoint.started.entry)
    return checkpoint


def encode_records(records: Sequence[Record], at_ms: float = 0.0) -> bytes:
    """`at_ms`: the writer's clock."""
    started: list[Any] = []
    cached: list[Any] = []
    tokens: list[Any] = []
    finished: list[Any] = []
    tombstones: list[Any] = []
    for record in records:
        match record:
            case Tokens(id, attempt, offset, ids, scores, prompt_scores):
                more = (scores, prompt_scores) if prompt_scores else (scores,) if scores else ()
                tokens.append((id, attempt, offset, ids, *more))
            case Started(entry, request):
                started.append((entry, request))
            case Cached(id, attempt, found):
                cached.append((id, attempt, found))
            case Finished(id, attempt, offset, reason, detail):
                finished.append((id, attempt, offset, reason, detail))
            case Tombstone(drained):
                tombstones.append(drained)
    parts = {"s": started, "c": cached, "t": tokens, "f": finished, "x": tombstones}
    stamp: dict[str, Any] = {"w": round(at_ms, 3)} if at_ms else {}
    return _sparsely(stamp | {key: rows for key, rows in parts.items() if rows})


def same_records(one: bytes, other: bytes) -> bool:
    """Do two encoded entries say the same, whenever they were written?"""
    return _unstamped(one) == _unstamped(other)


def _unstamped(data: bytes) -> bytes:
    return data[1:] if not data.startswith(b'{"w":') else data.partition(b",")[2] or b"}"


def decode_records(data: bytes) -> tuple[Record, ...]:
    return decode_entry(data)[0]


def decode_entry(data: bytes) -> tuple[tuple[Record, ...], float]:
    """The records, and when they were written; 0 if the entry does not say."""
    parts = _object(data)
    at_ms = parts.get("w", 0.0)
    if type(at_ms) not in (int, float) or not 0 <= at_ms <= MOST_MS:
        raise Malformed("'w' is no unix time")
    started: list[Record] = [_started(entry, request) for entry, request in _rows(parts, "s", 2)]
    cached: list[Record] = [
        Cached(text(id), number(attempt), number(found)) for id, attempt, found in _rows(parts, "c", 3)
    ]
    tokens = _all_tokens(parts)
    ended: list[Record] = [
        Finished(text(id), number(attempt), number(offset), FinishReason(text(reason)), text(detail))
        for id, attempt, offset, reason, detail in _rows(parts, "f", 5)
    ]
    tombstones = (Tombstone(exactly(bool, drained)) for drained in exactly(list, parts.get("x", [])))
    return (*started, *cached, *tokens, *ended, *tombstones), float(at_ms)


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


def encode_status(status: EngineStatus | GatewayStatus | ShardStatus) -> bytes:
    return orjson.dumps(status)


def decode_status(kind: type[T], data: bytes) -> T:
    """Fields of a newer version are passed over: during a rolling upgrade both versions read each other's leases."""
    return built(kind, _object(data), newer=True)


def _sparsely(value: Any) -> bytes:
    """Fields that have their default are left out: so a version without a new field reads whatever does not use it."""
    return orjson.dumps(value, default=_changed, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def _changed(value: Any) -> dict[str, Any]:
    given = ((name, getattr(value, name), default) for name, default in _defaults(value.__class__))
    return {name: one for name, one, default in given if one != default}


@lru_cache(maxsize=16)
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((f.name, f.default) for f in fields(kind))


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Malformed(str(error)) from None
    if not isinstance(value, dict):
        raise Malformed(f"not an object: {data[:80]!r}")
    return value


def _request(value: Any) -> GenerateRequest:
    request = built(GenerateRequest, value)
    _check(request)
    return request


def _check(request: GenerateRequest) -> None:
    """What others take for granted. Raises Malformed."""
    if not 1 <= request.render.choices <= MAX_CHOICES or not 0 <= request.index < request.render.choices:
        raise Malformed(f"choice {request.index} of {request.render.choices}")
    if not 1 <= request.render.prompts <= request.render.choices or request.cached < 0:
        raise Malformed("a count of prompts or of cached tokens that cannot be")
    if request.id != request_id(request.parent_id, request.index):
        raise Malformed("the id is not the parent's and the index")
    if request.scores and len(request.scores) != len(request.output):
        raise Malformed(f"{len(request.scores)} scores of {len(request.output)} ids")
    if min(request.shard, request.attempt, request.deaths) < 0 or request.sampling.max_tokens < 1:
        raise Malformed("a count is less than it can be")


def _started(entry: Any, request: Any) -> Started:
    _check_id(text(entry))
    return Started(entry, _request(request))


def _check_id(entry: str) -> None:
    major, dash, minor = entry.partition("-")
    if not (dash and len(entry) <= 41 and entry.isascii() and major.isdigit() and minor.isdigit()):
        raise Malformed(f"{entry[:100]!r} is not the id of an entry")


def _all_tokens(parts: Mapping[str, Any]) -> list[Record]:
    """A row for each token of each request: what is as it nearly always is, is seen here, without a call."""
    found: list[Record] = []
    for row in _rows(parts, "t", 4, 5, 6):
        if len(row) == 4:
            id, attempt, offset, ids = row
            if type(id) is str and type(attempt) is type(offset) is int and type(ids) is list and len(ids) == 1:
                [token] = ids
                if type(token) is int and 0 <= token < MOST_ID and attempt >= 0 <= offset:
                    found.append(Tokens(id, attempt, offset, (token,)))
                    continue
        found.append(_tokens(*row))
    return found


def _tokens(id: Any, attempt: Any, offset: Any, ids: Any, *scores: Any) -> Tokens:
    read = text(id), number(attempt), number(offset), token_ids(ids)
    return Tokens(*read, *_scores(ids, *scores)) if scores else Tokens(*read)


def _scores(ids: list[int], *told: Any) -> Iterator[tuple[Score, ...]]:
    """One for each id, if there are any; and those of the prompt."""
    for scores in told:
        yield tuple(built(Score, score) for score in exactly(list, scores))
    if told and len(told[0]) not in (0, len(ids)):
        raise Malformed(f"{len(told[0])} scores of {len(ids)} ids")


def _rows(parts: Mapping[str, Any], kind: str, *widths: int) -> Iterator[list[Any]]:
    for row in exactly(list, parts.get(kind, [])):
        if type(row) is not list or len(row) not in widths:
            raise Malformed(f"{kind!r} needs rows of {' or '.join(map(str, widths))}")
        yield row
