"""Between host and device: one block goes up each step, the drawn ids come down, and nobody waits without need."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import cycle
from typing import Protocol

import torch
from torch import Tensor

from services.engine.worker.pack import Ints

Wait = Callable[[], list[int]]


class Link(Protocol):
    waits_apart: bool  # `down` returns before the step has ended, so another thread should wait

    def running(self) -> AbstractContextManager[object]:
        """What a step is launched under."""
        ...

    def up(self, block: Ints) -> Tensor:
        """The block on the device."""
        ...

    def down(self, drawn: Tensor) -> Wait:
        """Start the way of drawn [S] int32 to the host; calling the result waits for its end."""
        ...


class HostLink:
    """The device is the host: nothing moves, and `down` has waited when it returns."""

    waits_apart = False

    def running(self) -> AbstractContextManager[object]:
        return nullcontext()

    def up(self, block: Ints) -> Tensor:
        return torch.from_numpy(block)

    def down(self, drawn: Tensor) -> Wait:
        ids: list[int] = drawn.tolist()
        return lambda: ids


class CudaLink:
    """Steps run on a main stream, results leave on a copy stream; the only wait is for one blocking event.

    Pinned buffers go round, so none is written while a copy may still read it: `DEPTH` exceeds the steps in flight.
    """

    DEPTH = 4
    waits_apart = True

    def __init__(self, device: torch.device, rows: int) -> None:
        self._device = device
        self._main, self._copy = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]  # torch has no type for it
        self._uploads = cycle([_Upload() for _ in range(self.DEPTH)])
        self._results = cycle([torch.empty(rows, dtype=torch.int32, pin_memory=True) for _ in range(self.DEPTH)])

    def running(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._main)

    def up(self, block: Ints) -> Tensor:
        upload = next(self._uploads)
        upload.consumed.synchronize()  # of DEPTH steps ago: in practice long past
        if len(upload.pinned) < len(block):
            upload.pinned = torch.empty(2 * len(block), dtype=torch.int32, pin_memory=True)
        host = upload.pinned[: len(block)]
        host.copy_(torch.from_numpy(block))
        on_device = host.to(self._device, non_blocking=True)
        upload.consumed.record(self._main)
        return on_device

    def down(self, drawn: Tensor) -> Wait:
        host = next(self._results)[: len(drawn)]
        self._copy.wait_stream(self._main)
        with torch.cuda.stream(self._copy):
            host.copy_(drawn, non_blocking=True)
        drawn.record_stream(self._copy)  # its memory is not given away before the copy has read it
        arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch has no type for it
        arrived.record(self._copy)

        def wait() -> list[int]:
            arrived.synchronize()
            ids: list[int] = host.tolist()
            return ids

        return wait


class _Upload:
    def __init__(self) -> None:
        self.pinned = torch.empty(4096, dtype=torch.int32, pin_memory=True)
        self.consumed = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no type for it
