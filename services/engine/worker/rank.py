"""A further rank of a tensor-parallel engine: `python -m services.engine.worker.rank FD`, started by rank 0 only.

It is told its configuration and then the packed block of each step, over the socket FD, with its masks behind it if
some of its rows wait for them, and computes what it is told until the socket is closed.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import NoReturn

import numpy as np
import orjson
import torch

from services.engine.config import EngineConfig
from services.engine.worker.link import Flight
from services.engine.worker.masks import Masks
from services.engine.worker.opening import open_rank
from services.engine.worker.pack import Packed
from services.engine.worker.ranks import receive
from services.engine.worker.runner import Runner

AHEAD = 2  # steps that may be in flight, as in the engine's loop


def read(source: Iterator[bytearray], blocks: "SimpleQueue[bytearray]") -> None:
    """Hand on what comes. When rank 0 has closed the socket or died this process ends, whatever it waits for."""
    for block in source:
        blocks.put(block)
    os._exit(0)


class ReceivedMasks:
    """They come behind their step's block. See `masks.Source`."""

    def __init__(self, blocks: "SimpleQueue[bytearray]") -> None:
        self._blocks = blocks

    def begin(self, packed: Packed) -> Callable[[], Masks]:
        return lambda: Masks(np.frombuffer(self._blocks.get(), dtype=np.int32).reshape(packed.masked, -1))

    def follow(self, packed: Packed, flight: Flight) -> None:
        """Rank 0 keeps the matchers."""

    def close(self) -> None:
        """There is nothing to give back."""


def serve(runner: Runner, blocks: "SimpleQueue[bytearray]") -> NoReturn:
    flights: deque[Flight] = deque()
    while True:
        flights.append(runner.launch(Packed.of(np.frombuffer(blocks.get(), dtype=np.int32))))
        if len(flights) == AHEAD:
            flights.popleft().wait()


def main() -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; rank 0 decides when it is over
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    messages = receive(socket.socket(fileno=int(sys.argv[1])))
    told = orjson.loads(next(messages))
    config = EngineConfig(**told["config"])
    logging.basicConfig(level=config.log_level.upper(), format=f"rank {told['rank']} %(levelname)s %(message)s")
    blocks: SimpleQueue[bytearray] = SimpleQueue()
    threading.Thread(target=read, args=(messages, blocks), daemon=True).start()
    masks = ReceivedMasks(blocks)
    opened = open_rank(config, Path(told["folder"]), told["rank"], masks, Path(told["meeting"]))
    torch.set_num_threads(opened.threads)
    serve(opened.runner, blocks)


if __name__ == "__main__":
    main()
