"""Where things lie on the bus, and who wrote them. Standard library only."""

from typing import NamedTuple

from shared.types import Lane


class StreamId(NamedTuple):
    """A stream entry's id, ordered: "<major>-<minor>"."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}-{self.minor}"

    @classmethod
    def parse(cls, text: str) -> "StreamId":
        major, _, minor = text.partition("-")
        return cls(int(major), int(minor))


ZERO = StreamId(0, 0)


class Entry(NamedTuple):
    """Where a request lies: ids are unique within a lane's stream only."""

    lane: Lane
    id: StreamId


class Executor(NamedTuple):
    """One boot of an engine; never repeats and never goes back."""

    engine: str
    boot: int

    def __str__(self) -> str:
        return f"{self.engine}.{self.boot}"

    @classmethod
    def parse(cls, text: str) -> "Executor":
        engine, _, boot = text.rpartition(".")
        return cls(engine, int(boot))
