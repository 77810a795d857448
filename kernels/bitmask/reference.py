"""The same, bit by bit."""

import math

from torch import Tensor


def bitmask(logits: Tensor, at: Tensor, words: Tensor) -> Tensor:
    """In the dtype given; the result is new."""
    out = logits[at.long()]
    for x, mask in zip(out, words.tolist(), strict=True):
        for v in range(x.shape[0]):
            if not mask[v // 32] >> v % 32 & 1:
                x[v] = -math.inf
    return out
