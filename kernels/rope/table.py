"""The table of rotary position embedding, for `qk_rope_write` on every device.

It carries the sign of the rotation, so that both halves are x * cos + (the other half) * sin.
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
