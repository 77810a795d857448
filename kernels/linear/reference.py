"""y = norm(x) W^T + b, and with a gate silu(first half) * second half, of plain operators."""

import torch
from torch import Tensor

from kernels.rms_norm.reference import rms_norm
from kernels.silu_mul.reference import silu_mul


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, norm: tuple[Tensor, float] | None = None, gated: bool = False
) -> Tensor:
    """x [T, inputs], weight [outputs, inputs], bias [outputs], norm: its weight [inputs] and eps; float64 for tests."""
    if norm is not None:
        x = rms_norm(x, *norm)
    y = torch.nn.functional.linear(x, weight, bias)
    return silu_mul(y) if gated else y
