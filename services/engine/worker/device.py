"""What steps run on: streams that do one thing after the other, events that say how far they are, and memory.

`HostDevice` does everything at once, on the host. `CudaDevice` enqueues, and a device for the tests enqueues too and
runs what it was given as late as it may. The rest of the worker is written for all three: what must wait for what is
said here by events and nowhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from services.engine.worker.flight import Event, HostEvent

Job = Callable[[], None]


class Stream(Protocol):
    """Runs what is enqueued in the order in which it was, and nothing of it before its turn."""

    def run(self, job: Job) -> None:
        """`job` enqueues kernels (CUDA) or is one (host): it must not read back what it computes."""
        ...

    def copy(self, target: Tensor, source: Tensor) -> None: ...

    def record(self) -> Event: ...

    def wait(self, event: Event) -> None:
        """What is enqueued from here on runs after `event`."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a card, in bytes."""

    total: int
    most_taken: int  # at the worst moment since the device was opened, by whomever


class Device(Protocol):
    """One card, or the host in its place."""

    torch: torch.device
    late: bool  # what is enqueued runs later: somebody has to wait for it
    fused: bool  # steps are made of `kernels/`'s Triton operations and captured; otherwise of torch's operators
    processors: int  # that run kernels side by side
    generation: int  # of the instruction set, as in sm_<generation>

    @property
    def main(self) -> Stream: ...

    @property
    def copies(self) -> Stream: ...

    def memory(self) -> Memory: ...

    def empty(self, size: int) -> Tensor:
        """[size] int32 on the device, for `main` to use."""
        ...

    def pinned(self, size: int) -> Tensor:
        """[size] int32 on the host, where copies reach it without help."""
        ...

    def capture(self, job: Job) -> Job:
        """Record what `job` enqueues; the result enqueues all of it at once, with the memory it was recorded with."""
        ...

    def forbid_waiting(self) -> None:
        """From now on whatever makes the host wait for the device, but an event, is an error."""
        ...


class HostStream:
    """Runs everything as it comes."""

    def run(self, job: Job) -> None:
        job()

    def copy(self, target: Tensor, source: Tensor) -> None:
        target.copy_(source)

    def record(self) -> HostEvent:
        return HostEvent()

    def wait(self, event: Event) -> None:
        event.synchronize()


class HostDevice:
    """The host: whatever returns has run."""

    late = False
    fused = False
    processors = 1
    generation = 0

    def __init__(self) -> None:
        self.torch = torch.device("cpu")
        self.main = self.copies = HostStream()

    def memory(self) -> Memory:
        raise NotImplementedError("the host's memory is shared: see kv_cache.spare_host_memory")

    def empty(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.int32)

    pinned = empty

    def capture(self, job: Job) -> Job:
        return job

    def forbid_waiting(self) -> None:
        """Nothing waits here: it all has run."""
