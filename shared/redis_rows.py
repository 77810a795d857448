"""What Redis's replies mean to the bus. What cannot be read harms nothing else: it is logged and passed over."""

import logging

from redis import exceptions

from shared import codec
from shared.bus import Delivery, Entry, StreamId, Version
from shared.messages import Cancel, Control, Record
from shared.redis_link import Rows
from shared.types import Lane

UNREADABLE = (KeyError, TypeError, ValueError)  # what decoders raise for bytes that none of our encoders wrote
NOBODY = Cancel("")  # stands for a control message that cannot be read
log = logging.getLogger("sluice.redis")


def deliveries(lane: Lane, rows: Rows) -> list[Delivery]:
    found: list[Delivery] = []
    for at, fields in rows:
        try:
            if fields:
                request = codec.decode_request(fields[b"data"])
                found.append(Delivery(Entry(lane, StreamId.parse(at.decode())), request))
        except UNREADABLE as error:
            log.error("request %s of lane %s cannot be read: %r", at.decode(), lane, error)
    return found


def records(at: bytes, fields: dict[bytes, bytes]) -> tuple[Record, ...]:
    try:
        return codec.decode_records(fields[b"data"])
    except UNREADABLE as error:
        log.error("entry %s of a token stream cannot be read: %r", at.decode(), error)
        return ()


def controls(rows: Rows) -> list[tuple[StreamId, Control]]:
    return [(StreamId.parse(at.decode()), _control(at, fields)) for at, fields in rows]


def _control(at: bytes, fields: dict[bytes, bytes]) -> Control:
    try:
        return codec.decode_control(fields[b"data"])
    except UNREADABLE as error:
        log.error("control message %s cannot be read: %r", at.decode(), error)
        return NOBODY


def parse_version(data: bytes | str | None) -> Version:
    text = data.decode() if isinstance(data, bytes) else data or ":0"
    nonce, _, counter = text.rpartition(":")
    return Version(nonce, int(counter))


def too_small(error: exceptions.ResponseError) -> bool:
    return "equal or smaller" in str(error)
