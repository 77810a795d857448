"""The ranks that are processes, seen from the engine: started, told each plan once, watched, ended.

Each (`rank.py`) is at the other end of a socket that only the two have. What goes over it is the packed block of each
step, and behind it the masks of its rows, if any wait for some. All ranks draw the same ids, so only rank 0 answers,
where it is not the engine's own process (`apart.py`). A rank that ends takes the engine with it: its share of the model
is gone.
"""

import logging
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import orjson

from services.engine.config import EngineConfig
from services.engine.worker.flight import Flight
from services.engine.worker.masks import Masks, Source
from services.engine.worker.pack import Packed
from services.engine.worker.worker import Launcher

LENGTH = struct.Struct("<I")  # before each message: its bytes
log = logging.getLogger("sluice.engine.ranks")


class RankLost(RuntimeError):
    """A process that had its share of the model has ended."""


def send(to: socket.socket, *parts: bytes | memoryview) -> None:
    """One message, of bytes."""
    to.sendall(b"".join((LENGTH.pack(sum(map(len, parts))), *parts)))


def receive(source: socket.socket) -> Iterator[bytearray]:
    """Messages until the other end is closed, or its process is gone."""
    while head := _exactly(source, LENGTH.size):
        message = _exactly(source, LENGTH.unpack(head)[0])
        if message is None:
            return
        yield message


def _exactly(source: socket.socket, size: int) -> bytearray | None:
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        try:
            read = source.recv_into(view)
        except ConnectionResetError:
            return None
        if not read:
            return None
        view = view[read:]
    return buffer


class RankProcesses:
    """Owns the processes of ranks `first` to N - 1. `close` ends them; so does the end of this one, by their sockets.

    They meet in the file `meeting`; a rank that is alone has nobody to meet.
    """

    def __init__(self, config: EngineConfig, folder: Path, meeting: Path | None, first: int) -> None:
        self._first = first
        self._sockets: list[socket.socket] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closing = False
        self._lock = threading.Lock()
        self._loss: RankLost | None = None  # the first
        self._tell: Callable[[RankLost], None] = lambda loss: None
        try:
            for rank in range(first, config.tensor_parallel):
                told = {"rank": rank, "folder": str(folder), "meeting": meeting and str(meeting)}
                self._start(told | {"config": asdict(config)})
        except BaseException:
            self.close()
            raise
        self._messages = receive(self._sockets[0])

    def _start(self, told: Mapping[str, object]) -> None:
        ours, theirs = socket.socketpair()
        self._sockets.append(ours)
        with theirs:
            command = [sys.executable, "-m", "services.engine.worker.rank", str(theirs.fileno())]
            self._processes.append(subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL))
        send(ours, orjson.dumps(told))
        threading.Thread(target=self._watch, args=(len(self._processes) - 1,), daemon=True).start()

    def hear(self) -> bytearray:
        """The next message of the first of them. Raises RankLost if it has ended, or was ended as another had."""
        message = next(self._messages, None)
        if message is None:
            raise self._loss or self._lost(0)
        return message

    def send(self, block: memoryview) -> None:
        """Raises RankLost if one is not there to hear it."""
        try:
            for each in self._sockets:
                send(each, block)
        except OSError as error:
            raise RankLost(f"a rank does not listen any more: {error}") from error

    def watch(self, lost: Callable[[RankLost], None]) -> None:
        """Call `lost`, from another thread, when one ends that was not told to, or has."""
        with self._lock:
            self._tell = lost
        if self._loss is not None:
            lost(self._loss)

    def _watch(self, index: int) -> None:
        """With one of them all end: what they compute together, or how they meet, has no end any more."""
        self._processes[index].wait()
        with self._lock:
            if self._closing or self._loss is not None:
                return
            self._loss = self._lost(index)
            tell = self._tell
        log.error("%s", self._loss)  # a step may fail of it first, and say less
        for process in self._processes:
            process.kill()
        tell(self._loss)

    def _lost(self, index: int) -> RankLost:
        """It has ended, or has closed its socket, which only its end does."""
        process = self._processes[index]
        name = f"rank {self._first + index} (process {process.pid})"
        try:
            return RankLost(f"{name} ended with status {process.wait(1)}")
        except subprocess.TimeoutExpired:
            return RankLost(f"{name} does not answer any more")

    def close(self) -> None:
        """They end when their sockets are closed; one that computes and waits for others is not waited for."""
        self._closing = True
        for each in self._sockets:
            each.close()
        for process in self._processes:
            process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)


class BroadcastRunner:
    """Launches each step here and on the other ranks. See `worker.Launcher`."""

    def __init__(self, inner: Launcher, others: RankProcesses) -> None:
        self._inner = inner
        self._others = others
        self.late = inner.late

    @property
    def graph_steps(self) -> int:
        return self._inner.graph_steps

    def launch(self, packed: Packed) -> Flight:
        self._others.send(packed.buffer.data.cast("B"))
        return self._inner.launch(packed)

    def close(self) -> None:
        self._others.close()
        self._inner.close()


class BroadcastMasks:
    """Tells the ranks that are processes what was made here. See `masks.Source`."""

    def __init__(self, inner: Source, others: RankProcesses) -> None:
        self._inner = inner
        self._others = others

    def begin(self, packed: Packed) -> Callable[[], Masks]:
        made = self._inner.begin(packed)

        def masks() -> Masks:
            masks = made()
            self._others.send(masks.words.data.cast("B"))
            return masks

        return masks

    def follow(self, packed: Packed, flight: Flight) -> None:
        self._inner.follow(packed, flight)

    def close(self) -> None:
        self._inner.close()
