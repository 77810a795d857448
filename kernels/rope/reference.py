"""Each pair (x[d], x[d + D/2]) turns by its position's angle (RoFormer, Su et al. 2021; halves as in GPT-NeoX).

y[d]       = x[d]       * cos(a[d]) - x[d + D/2] * sin(a[d])
y[d + D/2] = x[d + D/2] * cos(a[d]) + x[d]       * sin(a[d])      for d < D/2, a[d] = position * frequency[d]
"""

import torch
from torch import Tensor


def rope(x: Tensor, angles: Tensor) -> Tensor:
    """x [T, N, D], angles [T, D/2] in radians; computed in the dtype given, float64 for tests."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
