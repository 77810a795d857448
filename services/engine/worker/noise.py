"""Random numbers that are a function of (seed, position, token id) and of nothing else.

A counter-based generator (Salmon et al. 2011): no state, so a draw is the same whatever else is in the batch, wherever
a request is continued, and on every device, since integer arithmetic is. The counter is hashed in two stages: (seed,
position) by splitmix64's finaliser (Steele, Lea, Flood 2014) into two keys of 32 bits, and key and token id by a 32-bit
finaliser of two multiplications (C. Wellons' "lowbias32") in whose middle the second key enters. The first stage is
here; the second, and the noise that is made of it, stand with the draws: `kernels.draw.cpu` and `kernels.draw.noise`.
"""

import torch
from torch import Tensor

_GOLDEN64 = 0x9E3779B97F4A7C15 - (1 << 64)


def row_keys(seed_low: Tensor, seed_high: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Two keys [S] int32 for each row; all arguments [S] int32, the seed in two halves."""
    seed = seed_high.long().bitwise_left_shift(32).bitwise_or(seed_low.long().bitwise_and(0xFFFFFFFF))
    key = _mix64(_mix64(seed) + position.long() * _GOLDEN64)
    return key.to(torch.int32), key.bitwise_right_shift(32).to(torch.int32)


def _mix64(x: Tensor) -> Tensor:
    x = (x ^ _shift64(x, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    x = (x ^ _shift64(x, 27)) * (0x94D049BB133111EB - (1 << 64))
    return x ^ _shift64(x, 31)


def _shift64(x: Tensor, bits: int) -> Tensor:
    return x.bitwise_right_shift(bits).bitwise_and((1 << (64 - bits)) - 1)
