"""A rank of an engine that is a process of its own: `python -m services.engine.worker.rank FD`, started by `ranks.py`.

It is told its configuration and then the packed block of each step, over the socket FD, with its masks behind it if
some of its rows wait for them, and computes what it is told until the socket is closed.
"""

import logging
import os
import select
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson
import torch

from services.engine.config import EngineConfig
from services.engine.worker.answers import Speaker
from services.engine.worker.flight import Flight
from services.engine.worker.masks import Masks
from services.engine.worker.opening import Opened, open_rank
from services.engine.worker.pack import Packed
from services.engine.worker.ranks import receive
from services.engine.worker.runner import Runner
from shared.errors import ConfigError
from shared.lifecycle import settle_down

AHEAD = 2  # steps that may be in flight, as in the engine's loop
log = logging.getLogger("sluice.engine.rank")


def end_with(engine: socket.socket) -> None:
    """When the engine has closed the socket or died this process ends, whatever it waits for."""
    poll = select.poll()
    poll.register(engine, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


class ReceivedMasks:
    """They come behind their step's block. See `masks.Source`."""

    def __init__(self, messages: Iterator[bytearray]) -> None:
        self._messages = messages

    def begin(self, packed: Packed) -> Callable[[], Masks]:
        return partial(self._receive, packed.masked)

    def follow(self, packed: Packed, flight: Flight) -> None:
        """The engine keeps the matchers."""

    def close(self) -> None:
        """There is nothing to give back."""

    def _receive(self, rows: int) -> Masks:
        words = next(self._messages, None)
        if words is None:
            os._exit(0)  # the engine is gone
        return Masks(np.frombuffer(words, dtype=np.int32).reshape(rows, -1))


class Voice(Protocol):
    """What a rank has to say to the engine."""

    def progress(self, message: str, share: float) -> None: ...

    def refuse(self, why: str) -> None: ...

    def opened(self, opened: Opened) -> None: ...

    def launched(self, flight: Flight) -> None: ...


class Answers:
    """Rank 0 of an engine that is another process: a step has run when it was launched, as this is a CPU."""

    def __init__(self, engine: socket.socket) -> None:
        self._speaker = Speaker(engine)
        self.progress = self._speaker.progress
        self.refuse = self._speaker.refuse

    def opened(self, opened: Opened) -> None:
        self._speaker.opened(opened.sizes, opened.blocks)

    def launched(self, flight: Flight) -> None:
        self._speaker.step(flight.begun.at_ns, flight.ended.at_ns, flight.wait())


class Silence:
    """Every other rank: it draws what rank 0 draws."""

    def __init__(self) -> None:
        self._flights: deque[Flight] = deque()

    def progress(self, message: str, share: float) -> None: ...

    def refuse(self, why: str) -> None:
        log.error("%s", why)

    def opened(self, opened: Opened) -> None: ...

    def launched(self, flight: Flight) -> None:
        self._flights.append(flight)
        if len(self._flights) == AHEAD:
            self._flights.popleft().wait()


def serve(runner: Runner, blocks: Iterator[bytearray], voice: Voice) -> None:
    for block in blocks:
        voice.launched(runner.launch(Packed.of(np.frombuffer(block, dtype=np.int32))))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the engine decides when it is over
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    engine = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=partial(end_with, engine), daemon=True).start()
    messages = receive(engine)
    told = orjson.loads(next(messages))
    config, rank = EngineConfig(**told["config"]), told["rank"]
    logging.basicConfig(level=config.log_level.upper(), format=f"rank {rank} %(levelname)s %(message)s")
    voice: Voice = Answers(engine) if rank == 0 else Silence()
    meeting = told["meeting"] and Path(told["meeting"])
    try:
        opened = open_rank(config, Path(told["folder"]), rank, ReceivedMasks(messages), meeting, voice.progress)
    except ConfigError as error:
        voice.refuse(str(error))
        raise SystemExit(1) from None
    voice.opened(opened)
    torch.set_num_threads(opened.threads)
    settle_down()
    with suppress(ConnectionError):
        serve(opened.runner, messages, voice)
    os._exit(0)  # as `end_with`: what a library does at the end may wait for other ranks


if __name__ == "__main__":
    main()
