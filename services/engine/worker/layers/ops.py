"""The operations that a layer is made of: compiled loops and oneDNN for a CPU, Triton and cuBLAS for a GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from services.engine.worker.layers.product import Plain, Product, best_on_cpu


@dataclass(frozen=True, slots=True)
class Ops:
    rms_norm: Callable[[Tensor, Tensor, float], Tensor]  # x [..., H], weight, eps -> a new tensor like x
    silu_mul: Callable[[Tensor], Tensor]  # gate and up [T, 2 * I] -> [T, I]
    product: Callable[[Tensor], Product]  # of a weight that has been loaded


def cpu_ops(dtype: torch.dtype) -> Ops:
    """Numba is imported here and not before: a GPU has no use for it."""
    from kernels.rms_norm.cpu import rms_norm
    from kernels.silu_mul.cpu import silu_mul

    return Ops(rms_norm, silu_mul, best_on_cpu(dtype))


def triton_ops() -> Ops:
    """Triton is imported here and not before: it takes a while, and a CPU has no use for it."""
    from kernels.rms_norm.kernel import rms_norm as norm
    from kernels.silu_mul.kernel import silu_mul as gate

    return Ops(lambda x, weight, eps: norm(x, weight, eps), gate, Plain)


class Norm(Protocol):
    """What attention must know of the norm of queries and keys."""

    weight: Tensor  # [heads + kv_heads, D]
    eps: float


class Attend(Protocol):
    """The attention of one step, for all layers in turn."""

    def __call__(self, qkv: Tensor, cache: Tensor, norm: Norm | None, window: int | None) -> Tensor:
        """qkv [T, (heads + 2 * kv_heads) * D], overwritten -> [T, heads * D].

        Norms (Qwen3) and turns queries and keys, stores keys and values in the layer's `cache`, and attends; each query
        sees at most the last `window` positions.
        """
        ...
