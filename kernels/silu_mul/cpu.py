"""SiLU of the gate times the rest, in two operators of torch. Correct on any device."""

from torch import Tensor
from torch.nn import functional


def silu_mul(x: Tensor) -> Tensor:
    """x [T, 2 * I], gate first; y [T, I] is new and contiguous."""
    half = x.shape[-1] // 2
    return functional.silu(x[..., :half]).mul_(x[..., half:])
