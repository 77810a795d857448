"""A CUDA card as a `Device`: two streams, blocking events, pinned memory, graphs from one pool."""

import gc
from typing import Any

import torch
from torch import Tensor

from services.engine.worker.device import Job, Memory
from services.engine.worker.flight import Event

# torch's stubs leave the constructors of streams, events and graphs untyped.
_stream: Any = torch.cuda.Stream
_event: Any = torch.cuda.Event
_graph: Any = torch.cuda.CUDAGraph


class CudaEvent:
    at_ns = 0  # see `timing.py`

    def __init__(self, stream: Any) -> None:
        self._event = _event(enable_timing=True, blocking=True)  # blocking: whoever waits sleeps and does not spin
        self._event.record(stream)

    def synchronize(self) -> None:
        self._event.synchronize()

    def since(self, earlier: "CudaEvent") -> float:
        milliseconds: float = earlier._event.elapsed_time(self._event)
        return milliseconds / 1000

    def before(self, stream: Any) -> None:
        stream.wait_event(self._event)


class CudaStream:
    def __init__(self, device: torch.device) -> None:
        self.stream = _stream(device)

    def run(self, job: Job) -> None:
        with torch.cuda.stream(self.stream):
            job()

    def copy(self, target: Tensor, source: Tensor) -> None:
        with torch.cuda.stream(self.stream):
            target.copy_(source, non_blocking=True)

    def record(self) -> CudaEvent:
        return CudaEvent(self.stream)

    def wait(self, event: Event) -> None:
        if not isinstance(event, CudaEvent):
            raise TypeError(f"a CUDA stream cannot wait for {event!r}")
        event.before(self.stream)


class CudaDevice:
    """One card. What is allocated during a step belongs to `main` and is used nowhere else; see `link.Slot`."""

    late = True
    fused = True

    def __init__(self, index: int = 0) -> None:
        self.torch = torch.device("cuda", index)
        torch.cuda.set_device(self.torch)
        properties = torch.cuda.get_device_properties(self.torch)
        self.processors: int = properties.multi_processor_count
        self.generation: int = 10 * properties.major + properties.minor
        self.main = CudaStream(self.torch)
        self.copies = CudaStream(self.torch)
        # What this thread makes while it opens the engine, weights and zeros, is enqueued where steps will use it.
        torch.cuda.set_stream(self.main.stream)
        self._pool = torch.cuda.graph_pool_handle()
        torch.cuda.reset_peak_memory_stats(self.torch)  # of what this process did before

    def memory(self) -> Memory:
        """What the allocator kept but nobody used at the worst moment is given back first, so it does not count."""
        torch.cuda.synchronize(self.torch)
        gc.collect()
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info(self.torch)
        others = total - free - torch.cuda.memory_reserved(self.torch)
        return Memory(total, others + torch.cuda.max_memory_allocated(self.torch))

    def empty(self, size: int) -> Tensor:
        with torch.cuda.stream(self.main.stream):
            return torch.empty(size, dtype=torch.int32, device=self.torch)

    def pinned(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.int32, pin_memory=True)

    def capture(self, job: Job) -> Job:
        """Nothing else may use the card meanwhile. `job` must have run before: compiling is no kernel."""
        graph = _graph()
        context: Any = torch.cuda.graph
        with context(graph, pool=self._pool, stream=self.main.stream, capture_error_mode="thread_local"):
            job()
        replay: Job = graph.replay
        return replay

    def forbid_waiting(self) -> None:
        torch.cuda.set_sync_debug_mode("error")
