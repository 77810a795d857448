"""A span as a tuple, and the W3C context that ties those of several processes together.

Times are nanoseconds of this machine's monotonic clock: a step of the wall clock makes no span longer. They become wall
time when they leave the process (`Recorder.wall_offset_ns`).
"""

import random
import re
import time
from collections.abc import Mapping
from enum import IntEnum
from hashlib import blake2b, sha256
from types import MappingProxyType
from typing import NamedTuple

now_ns = time.monotonic_ns
Value = str | bool | int | float | tuple[str, ...]
Attributes = Mapping[str, Value]
NOTHING: Attributes = MappingProxyType({})
_ids = random.Random()  # they are told to everybody: that no two are the same is all they need
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Kind(IntEnum):
    """OpenTelemetry's span kinds, by its API's numbers."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class Context(NamedTuple):
    """Where a span belongs: what `traceparent` says (https://www.w3.org/TR/trace-context/)."""

    trace: str  # 32 hexadecimal digits
    span: str  # 16
    sampled: bool

    @classmethod
    def parse(cls, traceparent: str | None) -> "Context | None":
        """None for what is not a traceparent; of a later version its first four fields count."""
        match = _TRACEPARENT.fullmatch(traceparent or "")
        if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
            return None
        return cls(match[2], match[3], bool(int(match[4], 16) & 1))

    @classmethod
    def new(cls, *, sampled: bool) -> "Context":
        """The root of a trace of its own."""
        return cls(f"{_ids.getrandbits(128) or 1:032x}", new_span_id(), sampled)

    def child(self, span: str = "") -> "Context":
        """The same trace, another span: `span`, or a new one."""
        return self._replace(span=span or new_span_id())

    def __str__(self) -> str:
        return f"00-{self.trace}-{self.span}-{'01' if self.sampled else '00'}"


class Event(NamedTuple):
    """A moment within a span."""

    name: str
    at_ns: int
    attributes: Attributes = NOTHING


class Span(NamedTuple):
    """Finished work. `links` are contexts of other spans; an `error` makes its status one."""

    name: str
    context: Context
    parent: str  # span id; "" for a root
    start_ns: int
    end_ns: int
    attributes: Attributes = NOTHING
    kind: Kind = Kind.INTERNAL
    events: tuple[Event, ...] = ()
    links: tuple[Context, ...] = ()
    error: str = ""


def request_digest(parent: str) -> str:
    """What a client's request is called wherever it is told of: whoever knows its id may read the answer."""
    return sha256(parent.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def new_span_id() -> str:
    return f"{_ids.getrandbits(64) or 1:016x}"


def named_span_id(trace: str, *names: object) -> str:
    """The id of a span that two processes must know without telling each other: whoever buries an engine writes the
    spans that the engine could not."""
    return blake2b("\0".join((trace, *map(str, names))).encode(), digest_size=8).hexdigest()
