"""The operations that a layer is made of: compiled loops and oneDNN for a CPU, Triton and cuBLAS for a GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from services.engine.worker.layers.product import Gated, Plain, Product

ALL_ROWS = 1 << 30


@dataclass(frozen=True, slots=True)
class Ops:
    """Products are made of a weight and perhaps a bias that have been loaded."""

    rms_norm: Callable[[Tensor, Tensor, float], Tensor]  # x [..., H], weight, eps -> a new tensor like x
    product: Callable[[Tensor, Tensor | None], Product]
    gated: Callable[[Tensor, Tensor | None], Product]  # of gate and up, one above the other
    loops: int = 0  # up to so many rows all of them are loops of `kernels._loops`


def cpu_ops(dtype: torch.dtype, parameters: int) -> Ops:
    """`parameters`: of the model; matrices of a small one may lie there in two ways.

    Numba is imported here and not before: a GPU has no use for it.
    """
    from kernels.rms_norm.cpu import rms_norm
    from kernels.silu_mul.cpu import silu_mul
    from services.engine.worker.layers.cpu_products import FEW, Both, Panels, best_on_cpu, lie_twice

    best = best_on_cpu(dtype)
    if best is Panels:
        return Ops(rms_norm, Panels, partial(Panels, gated=True), loops=ALL_ROWS)

    def gated(weight: Tensor, bias: Tensor | None) -> Product:
        return Gated(best(weight, bias), silu_mul)

    if not lie_twice(best, parameters * dtype.itemsize):
        return Ops(rms_norm, best, gated)
    return Ops(
        rms_norm,
        lambda weight, bias: Both(Panels(weight, bias), best(weight, bias)),
        lambda weight, bias: Both(Panels(weight, bias, gated=True), gated(weight, bias)),
        loops=FEW,
    )


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
