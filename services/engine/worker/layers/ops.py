"""The operations that a layer is made of: compiled loops and oneDNN for a CPU, Triton and cuBLAS for a GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from services.engine.worker.layers.product import Gated, Plain, Product


@dataclass(frozen=True, slots=True)
class Ops:
    """Products are made of a weight and perhaps a bias that have been loaded."""

    rms_norm: Callable[[Tensor, Tensor, float], Tensor]  # x [..., H], weight, eps -> a new tensor like x
    product: Callable[[Tensor, Tensor | None], Product]
    gated: Callable[[Tensor, Tensor | None], Product]  # of gate and up, one above the other
    loops: bool = False  # all of them are loops of `kernels._loops`


def cpu_ops(dtype: torch.dtype) -> Ops:
    """Numba is imported here and not before: a GPU has no use for it."""
    from kernels.rms_norm.cpu import rms_norm
    from kernels.silu_mul.cpu import silu_mul
    from services.engine.worker.layers.cpu_products import Panels, best_on_cpu

    best = best_on_cpu(dtype)
    if best is Panels:
        return Ops(rms_norm, Panels, partial(Panels, gated=True), loops=True)
    return Ops(rms_norm, best, lambda weight, bias: Gated(best(weight, bias), silu_mul))


def triton_ops() -> Ops:
    """Triton is imported here and not before: it takes a while, and a CPU has no use for it."""
    from kernels.rms_norm.kernel import rms_norm as norm
    from kernels.silu_mul.kernel import silu_mul as gate

    def gated(weight: Tensor, bias: Tensor | None) -> Product:
        return Gated(Plain(weight, bias), gate)

    return Ops(lambda x, weight, eps: norm(x, weight, eps), Plain, gated)


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
