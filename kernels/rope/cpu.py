"""Rotary position embedding in place, in three operators of torch. Correct on any device.

The table carries the sign of the rotation, so that both halves are x * cos + roll(x) * sin.
"""

import torch
from torch import Tensor


def rope_table(frequencies: Tensor, positions: int, dtype: torch.dtype) -> Tensor:
    """[positions, 2, D]: cos and signed sin for each position. frequencies [D/2], float32, radians per position."""
    at = torch.arange(positions, dtype=torch.float32, device=frequencies.device)
    angles = at[:, None] * frequencies  # [positions, D/2]
    cos, sin = angles.cos(), angles.sin()
    halves = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
    return torch.stack(halves, dim=1).to(dtype)


def rope_(x: Tensor, table: Tensor) -> Tensor:
    """Turn x [T, N, D] in place, last dimension contiguous; table [T, 2, D] holds the rows of its positions."""
    turned = x.roll(x.shape[-1] // 2, -1)
    return x.mul_(table[:, None, 0]).addcmul_(turned, table[:, None, 1])
