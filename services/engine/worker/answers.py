"""What rank 0 says to an engine that is another process: how its opening goes, and then what came of each step.

Messages of a socket (`ranks.py`). The first ones are JSON, the last of them says what the rank has; those of steps are
begin and end on the machine's monotonic clock, and behind them the results as they came down.
"""

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import orjson

from services.engine.worker.ranks import send
from services.engine.worker.sizes import Sizes
from shared.checkpoint import Progress
from shared.errors import ConfigError

MOMENTS = struct.Struct("<qq")


class Speaker:
    """Rank 0's end."""

    def __init__(self, engine: socket.socket) -> None:
        self._engine = engine

    def progress(self, message: str, share: float) -> None:
        self._say(progress=(message, share))

    def refuse(self, why: str) -> None:
        """In one line for whoever started the engine; nothing follows."""
        self._say(refused=why)

    def opened(self, sizes: Sizes, blocks: int) -> None:
        self._say(sizes=asdict(sizes), blocks=blocks)

    def step(self, begun_ns: int, ended_ns: int, results: list[int]) -> None:
        send(self._engine, MOMENTS.pack(begun_ns, ended_ns), np.array(results, dtype=np.int32).data.cast("B"))

    def _say(self, **what: object) -> None:
        send(self._engine, orjson.dumps(what))


class StepAnswer(NamedTuple):
    begun_ns: int
    ended_ns: int
    results: list[int]


class Listener:
    """The engine's end."""

    def __init__(self, hear: Callable[[], bytearray]) -> None:
        self._hear = hear
        self._lock = threading.Lock()
        self._heard = 0
        self._kept: dict[int, StepAnswer] = {}  # heard by who waited for a later one; as many as are in flight

    def opened(self, progress: Progress) -> tuple[Sizes, int]:
        """What the rank has, and the blocks of its KV cache. Raises ConfigError for what it refuses."""
        while True:
            said = orjson.loads(self._hear())
            if "refused" in said:
                raise ConfigError(said["refused"])
            if "sizes" in said:
                return Sizes(**said["sizes"]), said["blocks"]
            progress(*said["progress"])

    def step(self, number: int) -> StepAnswer:
        """Of the step that was sent as the number-th, from 0 on. Blocks for it; from any thread, once for each."""
        with self._lock:
            while self._heard <= number:
                self._kept[self._heard] = _answer(self._hear())
                self._heard += 1
            return self._kept.pop(number)


def _answer(message: bytearray) -> StepAnswer:
    begun_ns, ended_ns = MOMENTS.unpack_from(message)
    return StepAnswer(begun_ns, ended_ns, np.frombuffer(message, dtype=np.int32, offset=MOMENTS.size).tolist())
