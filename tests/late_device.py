"""A device that is as late as it may be: nothing runs before somebody waits for it, and then only what must.

Work is enqueued on streams as on a card. Synchronising an event runs its stream up to it and, of other streams, what
the streams waited for; everything else stays undone. So whatever is read, written again or given away too early is
seen in the state that the slowest card would leave it in. Streams named in `eager` are the other extreme: they do all
that their waits allow at once.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from services.engine.worker.device import Job, Memory

READS_BACK = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal")


class LateEvent:
    """`index` operations of its stream lie before it."""

    at_ns = 0

    def __init__(self, stream: "LateStream", index: int) -> None:
        self.stream = stream
        self.index = index

    def synchronize(self) -> None:
        with self.stream.device.lock:
            self.stream.device.synchronized += 1
            self.stream.advance(self.index)
            self.stream.device.hurry()

    def since(self, earlier: "LateEvent") -> float:
        for event in (self, earlier):
            assert event.stream.done >= event.index, "an event was timed before it had passed"
        return 1e-3


class LateStream:
    def __init__(self, device: "LateDevice", *, eager: bool) -> None:
        self.device = device
        self.done = 0  # operations that have run
        self._eager = eager
        self._queue: deque[Callable[[], bool]] = deque()  # each says whether it could run

    def run(self, job: Job) -> None:
        def execute() -> bool:
            with self.device.watch(), kernels_called(lambda name, arguments: None):
                job()
            return True

        self._put(execute)

    def copy(self, target: Tensor, source: Tensor) -> None:
        assert target.shape == source.shape

        def execute() -> bool:
            target.copy_(source)
            return True

        self._put(execute)

    def record(self) -> LateEvent:
        with self.device.lock:
            return LateEvent(self, self.done + len(self._queue))

    def wait(self, event: Any) -> None:
        def execute() -> bool:
            there = bool(event.stream.done >= event.index)
            if there or self._eager:
                return there
            event.stream.advance(event.index)
            return True

        self._put(execute)

    def advance(self, index: int) -> None:
        """Run until `index` operations have run, and of other streams what they wait for."""
        eager, self._eager = self._eager, False
        while self.done < index:
            self._step()
        self._eager = eager

    def hurry(self) -> None:
        while self._eager and self._queue and self._step():
            pass

    def _put(self, operation: Callable[[], bool]) -> None:
        with self.device.lock:
            self._queue.append(operation)
            self.device.hurry()

    def _step(self) -> bool:
        ran = self._queue[0]()
        if ran:
            self._queue.popleft()
            self.done += 1
        return ran


class LateDevice:
    """See `services.engine.worker.device.Device`. `fused` chooses which program runs on it."""

    late = True
    processors = 2
    generation = 90

    def __init__(self, *, fused: bool = False, eager: str = "", memory: Memory | None = None) -> None:
        self.torch = torch.device("cpu")
        self.fused = fused
        self.lock = threading.RLock()
        self.synchronized = 0  # events that somebody waited for
        self.captured = 0
        self._memory = memory
        self._watching = False
        self.main = LateStream(self, eager="main" in eager)
        self.copies = LateStream(self, eager="copies" in eager)

    def memory(self) -> Memory:
        self.main.record().synchronize()
        assert self._memory is not None
        return self._memory

    def empty(self, size: int) -> Tensor:
        """Filled with what no kernel could make sense of."""
        return torch.full((size,), -(1 << 30), dtype=torch.int32)

    pinned = empty

    def capture(self, job: Job) -> Job:
        """The job itself, on the condition that it does the same each time: see `Recording`."""
        self.captured += 1
        self.main.record().synchronize()
        first = Recording.of(job)

        def replay() -> None:
            assert Recording.of(job) == first, "a captured step did something else than when it was captured"

        return replay

    def forbid_waiting(self) -> None:
        self._watching = True

    def watch(self) -> "ReadsBack":
        return ReadsBack(self._watching)

    def hurry(self) -> None:
        self.main.hurry()
        self.copies.hurry()


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in torch
    """What was called, torch's operators and Triton's kernels, with shapes and numbers: a graph freezes all of it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[str, str]] = []

    @classmethod
    def of(cls, job: Job) -> list[tuple[str, str]]:
        recording = cls()
        with recording, kernels_called(recording.note):
            job()
        calls: list[tuple[str, str]] = recording.calls
        return calls

    def note(self, name: str, arguments: Sequence[Any]) -> None:
        self.calls.append((name, repr([list(a.shape) if isinstance(a, Tensor) else a for a in arguments])))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.note(str(func), args)
        return func(*args, **(kwargs or {}))


@contextmanager
def kernels_called(note: Callable[[str, Sequence[Any]], None]) -> Iterator[None]:
    """Tells of each kernel that Triton's interpreter runs, and hides what the interpreter does with torch."""
    if "triton" not in sys.modules:
        yield
        return
    from triton.runtime.interpreter import GridExecutor

    run = GridExecutor.__call__

    def called(executor: Any, *args: Any, **kwargs: Any) -> None:
        note(executor.fn.__name__, (*args, *sorted(kwargs.items()), executor.grid))
        with _disable_current_modes():
            run(executor, *args, **kwargs)

    with patch.object(GridExecutor, "__call__", called):
        yield


class ReadsBack(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in torch
    """Raises where a value would be read back to the host, as CUDA's debug mode does on a card."""

    def __init__(self, forbidden: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._forbidden = forbidden

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._forbidden and str(func.name()).startswith(READS_BACK):
            raise RuntimeError(f"{func.name()} makes the host wait for the device")
        return func(*args, **(kwargs or {}))
