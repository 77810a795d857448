"""What Redis's replies mean to the bus. What cannot be read harms nothing else: it is logged and passed over."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis import exceptions

from shared import codec
from shared.bus import Delivery, Entry, Holder, Step, StreamId, Version
from shared.keys import GROUP
from shared.messages import Cancel, Control, Record
from shared.redis_link import Rows
from shared.types import Lane

T = TypeVar("T")
UNREADABLE = (KeyError, TypeError, ValueError)  # what decoders raise for bytes that none of our encoders wrote
FOREIGN = Version("?", 0)
NOBODY = Cancel("")  # stands for a control message that cannot be read
log = logging.getLogger("sluice.redis")


def deliveries(lane: Lane, rows: Rows) -> list[Delivery]:
    """Those that can be read; an owner sees to the others (PROTOCOL 11)."""
    read = (request_at(lane, at, fields) for at, fields in rows)
    return [one for one in read if isinstance(one, Delivery)]


def request_at(lane: Lane, at: bytes, fields: dict[bytes, bytes]) -> Delivery | Entry:
    """Only the entry, if what lies there cannot be read."""
    entry = Entry(lane, StreamId.parse(at.decode()))
    try:
        return Delivery(entry, codec.decode_request(fields[b"data"]))
    except UNREADABLE as error:
        if fields:  # else it was deleted
            log.error("request %s of lane %s cannot be read: %s", entry.id, lane, shortly(error))
        return entry


def readable(decode: Callable[[bytes], T], values: Sequence[bytes | None]) -> list[T | None]:
    """Each value as `decode` reads it; None where nothing is, or nothing that can be read."""
    return [_readable(decode, value) for value in values]


def _readable(decode: Callable[[bytes], T], value: bytes | None) -> T | None:
    try:
        return decode(value) if value else None
    except UNREADABLE as error:
        log.error("a value on the bus cannot be read: %s", shortly(error))
        return None


def names(members: Sequence[bytes]) -> frozenset[str]:
    """Those of executors; whatever else is in the set is nobody's."""
    return frozenset(name for member in members if is_executor(name := member.decode(errors="replace")))


def is_executor(name: str) -> bool:
    engine, _, boot = name.rpartition(".")
    return bool(engine) and len(boot) < 20 and boot.isascii() and boot.isdigit() and "\ufffd" not in name


def shortly(error: Exception) -> str:
    """Never what was read: it may be a prompt."""
    return str(error)[:200] if isinstance(error, codec.Malformed) else type(error).__name__


def step(executor: str, at: bytes, fields: dict[bytes, bytes]) -> Step:
    """An entry of a token stream; it holds nothing if it cannot be read."""
    records, at_ms = _records(at, fields)
    return Step(executor, StreamId.parse(at.decode()), records, at_ms)


def _records(at: bytes, fields: dict[bytes, bytes]) -> tuple[tuple[Record, ...], float]:
    try:
        return codec.decode_entry(fields[b"data"])
    except UNREADABLE as error:
        log.error("entry %s of a token stream cannot be read: %s", at.decode(), shortly(error))
        return (), 0.0


def controls(rows: Rows) -> list[tuple[StreamId, Control]]:
    return [(StreamId.parse(at.decode()), _control(at, fields)) for at, fields in rows]


def _control(at: bytes, fields: dict[bytes, bytes]) -> Control:
    try:
        return codec.decode_control(fields[b"data"])
    except UNREADABLE as error:
        log.error("control message %s cannot be read: %s", at.decode(), shortly(error))
        return NOBODY


def last_id(rows: Rows) -> StreamId | None:
    return StreamId.parse(rows[-1][0].decode()) if rows else None


def pendings(rows: Sequence[Any]) -> list[tuple[StreamId, str]]:
    """XPENDING's long form: what was given out, and to whom."""
    return [(StreamId.parse(at.decode()), consumer.decode(errors="replace")) for at, consumer, *_ in rows]


def delivered(groups: Sequence[Any], rows: Sequence[Any], most: int) -> StreamId:
    """Up to where all was given out and `rows`, `most` of the pending ones, tell of it."""
    ours = next(fields for group in groups if (fields := dict(batched(group)))[b"name"] == GROUP.encode())
    last = StreamId.parse(ours[b"last-delivered-id"].decode())
    return min(last, pendings(rows)[-1][0]) if len(rows) >= most else last


def batched(flat: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Names and values, as RESP2 tells a mapping."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def parse_version(data: bytes | str | None) -> Version:
    """What nobody of ours wrote is somebody else's (PROTOCOL 3)."""
    text = data.decode(errors="replace") if isinstance(data, bytes) else data or ":0"
    nonce, _, counter = text.rpartition(":")
    return Version(nonce, int(counter)) if counter.isascii() and counter.isdigit() and len(counter) < 20 else FOREIGN


def parse_holder(data: bytes | str | None) -> Holder | None:
    if data is None:
        return None
    parent, _, digest = (data.decode(errors="replace") if isinstance(data, bytes) else data).partition(":")
    return Holder(parent, digest)


def too_small(error: exceptions.ResponseError) -> bool:
    return "equal or smaller" in str(error)
