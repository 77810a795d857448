"""RMS norm by torch's fused operator: sums in float32 whatever the dtype. Correct on any device."""

from torch import Tensor
from torch.nn import functional


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """y[..., h] = x[..., h] / sqrt(mean_h(x[..., h]^2) + eps) * weight[..., h]; y is new and contiguous.

    x [..., H] float32 | bfloat16. weight [H], or [N, H] where x is [..., N, H]: one weight for each head (QK-norm).
    """
    if weight.dim() == 1:
        return functional.rms_norm(x, weight.shape, weight, eps)
    return functional.rms_norm(x, x.shape[-1:], None, eps).mul_(weight)
