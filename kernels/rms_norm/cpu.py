"""RMS norm with one pass over x for its norm and one for the rest: torch's own takes four on a CPU, for long x.

Sums and scale are float32 whatever the dtype, and x is rounded before the weight, as in transformers. Correct on any
device.
"""

import torch
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """y[..., h] = x[..., h] / sqrt(mean_h(x[..., h]^2) + eps) * weight[..., h]; y is new and contiguous.

    x [..., H] float32 | bfloat16. weight [H], or [N, H] where x is [..., N, H]: one weight for each head (QK-norm).
    """
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    scale = norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
    return torch.mul(x, scale).to(x.dtype).mul_(weight)
