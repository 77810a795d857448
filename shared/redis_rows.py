"""What Redis's replies mean to the bus."""

from redis import exceptions

from shared import codec
from shared.bus import Delivery, Entry, StreamId, Version
from shared.messages import Control
from shared.redis_link import Rows
from shared.types import Lane


def deliveries(lane: Lane, rows: Rows) -> list[Delivery]:
    return [
        Delivery(Entry(lane, StreamId.parse(at.decode())), codec.decode_request(fields[b"data"]))
        for at, fields in rows
        if fields
    ]


def controls(rows: Rows) -> list[tuple[StreamId, Control]]:
    return [(StreamId.parse(at.decode()), codec.decode_control(fields[b"data"])) for at, fields in rows]


def parse_version(data: bytes | str | None) -> Version:
    text = data.decode() if isinstance(data, bytes) else data or ":0"
    nonce, _, counter = text.rpartition(":")
    return Version(nonce, int(counter))


def too_small(error: exceptions.ResponseError) -> bool:
    return "equal or smaller" in str(error)
