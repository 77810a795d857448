"""y[..., h] = x[..., h] / sqrt(mean_h(x[..., h]^2) + eps) * w[h] (Zhang, Sennrich 2019), as plainly as can be."""

import torch
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [..., H], weight [H] or any shape that broadcasts to x; computed in the dtype given, float64 for tests."""
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight
