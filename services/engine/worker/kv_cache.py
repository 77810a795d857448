"""The paged KV cache: how many blocks fit, and the memory for them.

One tensor for each layer, [num_blocks, block_size, 2, kv_heads, head_dim]. On a CPU the elements of a block lie
otherwise: see `kernels.paged_attention.batch`.
"""

import math
import mmap
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from services.engine.worker.device import Memory
from services.engine.worker.models.config import ModelConfig
from shared.errors import ConfigError

CPU_SHARE, CPU_LEAST = 0.25, 1 << 29  # of the memory that is free; bytes that a small model's cache may take too


def block_bytes(model: ModelConfig, block_size: int, dtype: torch.dtype) -> int:
    """Of one block of one layer."""
    return block_size * 2 * model.num_kv_heads * model.head_dim * dtype.itemsize


def num_blocks(
    model: ModelConfig, block_size: int, rows: int, max_model_len: int, *, memory: int, dtype: torch.dtype
) -> int:
    """As many as `memory` bytes hold, but no more than all rows can fill.

    Raises ConfigError if not even one request of the smallest kind fits.
    """
    fit = memory // (model.num_layers * block_bytes(model, block_size, dtype))
    if fit < 2:
        raise ConfigError(
            f"no memory for a KV cache: {max(memory, 0) >> 20} MiB are free for it; use a smaller model,"
            " --dtype bfloat16 or, on a GPU, a higher --gpu-memory-utilization"
        )
    return min(fit, rows * -(-max_model_len // block_size))


def spare_host_memory(weights: int, ranks: int = 1) -> int:
    """Bytes that the KV cache of each of `ranks` may take of the host's memory, which others need too: twice as many as
    its `weights`."""
    return min(int(_free_host_memory() * CPU_SHARE) // ranks, max(CPU_LEAST, 2 * weights))


def spare_card_memory(memory: Memory, utilization: float, captured: int) -> int:
    """Bytes a KV cache may take of a card on which the largest step has been rehearsed (as vLLM sizes it).

    `captured` is kept free for what captured steps will hold on to beside it. May be negative.
    """
    return int(memory.total * utilization) - memory.most_taken - captured


def allocate(
    model: ModelConfig, blocks: int, block_size: int, *, device: torch.device, dtype: torch.dtype
) -> list[Tensor]:
    """Zeros: what a mask hides must be finite. A card's are written at once; the host gives pages when they are used.

    Raises ConfigError naming the flag to change.
    """
    shape = (blocks, block_size, 2, model.num_kv_heads, model.head_dim)
    size = blocks * model.num_layers * block_bytes(model, block_size, dtype)
    try:
        if device.type == "cpu" and size > _free_host_memory():
            raise MemoryError
        if device.type == "cpu":
            return [_untouched(shape, dtype) for _ in range(model.num_layers)]
        return [torch.zeros(shape, device=device, dtype=dtype) for _ in range(model.num_layers)]
    except (RuntimeError, OSError, MemoryError):  # torch.OutOfMemoryError is the first, the second is mmap's
        raise ConfigError(f"out of memory for a KV cache of {size >> 20} MiB; lower --kv-blocks ({blocks})") from None


def _untouched(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros that take memory page by page, when a page is first written; torch's own are written here. Large pages,
    where the system has them for who asks: blocks lie anywhere, and each would cost a walk through the page tables.
    """
    size = math.prod(shape) * dtype.itemsize
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.uint8).view(dtype).view(shape)


def _free_host_memory() -> int:
    """What the kernel could give, within the limit of the container (control groups, version 2)."""
    meminfo = Path("/proc/meminfo").read_text()
    available = next(int(line.split()[1]) << 10 for line in meminfo.splitlines() if line.startswith("MemAvailable"))
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text().strip(), int((group / "memory.current").read_text())
    except OSError:
        return available
    return available if limit == "max" else min(available, max(0, int(limit) - used))
