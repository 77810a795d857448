"""What a detokenizer sends a gateway over their one SSE connection, and what a gateway asks for.

`POST /frames` with `Attach` opens the connection; its answer is `text/event-stream`, one event per batch of work, with
the frames of all requests in it. `POST /attach` with `Attach` asks for more while the connection is up. A cursor is
opaque to the gateway: it keeps the last one it relayed and hands it back to go on behind it; "" means from the start.
It is also what the client sees as SSE `id:`: the choices' token offsets, joined by commas.

Who reads is a `Reader`: the parent's id for the request's own client, the same with "~" and something unique behind it
for each other reader of that parent at this gateway. `Attach.left` says which of them have gone.

Each frame says which cursor it goes `after`, so that no answer to an `/attach` has to be told from what was already on
its way: a gateway relays a frame only if the client stands there and drops it otherwise. Nothing is doubled or skipped.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from shared.types import ParentId

Reader = str
EVENT_PREFIX = b"data: "
STAMP_PREFIX = b": w="


class Frame(NamedTuple):
    """Bytes for one client, finished: SSE text of a stream, or the whole JSON body of an answer or an error."""

    parent: ParentId
    cursor: str  # where the client stands once it has this frame
    data: str
    status: int = 200  # of the HTTP response; other than 200 only in a request's first and only frame
    last: bool = False  # nothing follows
    after: str | None = None  # where the client must stand to be given it; None only with a status other than 200
    reader: Reader = ""  # whom it is for; the parent's own client if empty


@dataclass(frozen=True, slots=True)
class Attach:
    """Gateway process `gateway` wants all frames for these readers that lie behind the cursors."""

    gateway: str
    cursors: dict[Reader, str] = field(default_factory=dict)
    left: tuple[Reader, ...] = ()


def parent_of(reader: Reader) -> ParentId:
    return reader.partition("~")[0]


def encode_frames(frames: list[Frame], at_ms: float = 0.0) -> bytes:
    """One SSE event; `at_ms`, the writer's clock, goes before it as a comment."""
    stamp = b"%b%.3f\n" % (STAMP_PREFIX, at_ms) if at_ms else b""
    return stamp + EVENT_PREFIX + orjson.dumps(list(map(tuple, frames))) + b"\n\n"


def written_ms(line: bytes) -> float | None:
    """When the event behind this line was written, unix time; None for a line that does not say."""
    if not line.startswith(STAMP_PREFIX):
        return None
    try:
        return float(line[len(STAMP_PREFIX) :])
    except ValueError:
        return None


def decode_frames(line: bytes) -> list[Frame]:
    """The frames of one `data:` line; comments and empty lines hold none."""
    if not line.startswith(EVENT_PREFIX):
        return []
    return [Frame(*row) for row in orjson.loads(line[len(EVENT_PREFIX) :])]


def encode_attach(attach: Attach) -> bytes:
    return orjson.dumps(attach)


def decode_attach(body: bytes) -> Attach:
    """Raises ValueError if `body` is not what `encode_attach` writes."""
    fields = orjson.loads(body)
    match fields:
        case {"gateway": str(gateway), "cursors": dict(cursors), "left": list(left)}:
            return Attach(gateway, {str(k): str(v) for k, v in cursors.items()}, tuple(map(str, left)))
        case _:
            raise ValueError("attach needs {gateway, cursors, left}")
