"""y = silu(g) * u with silu(g) = g / (1 + exp(-g)), where x is g and u side by side (Shazeer 2020, SwiGLU)."""

import torch
from torch import Tensor


def silu_mul(x: Tensor) -> Tensor:
    """x [..., 2 * I], gate first; y [..., I]."""
    gate, up = x.chunk(2, dim=-1)
    return gate / (1 + torch.exp(-gate)) * up
