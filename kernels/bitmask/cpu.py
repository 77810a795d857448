"""Eight bits at a time, by a table: each byte of a mask finds the eight numbers that are added to its logits."""

from functools import cache

import torch
from torch import Tensor


def bitmask(logits: Tensor, at: Tensor, words: Tensor) -> Tensor:
    """logits [S, V] float32, at [C], words [C, W] int32 -> [C, V], new. The host's bytes are little-endian."""
    rows, width = words.shape
    added = _table().index_select(0, words.contiguous().view(torch.uint8).flatten().int())  # [C * W * 4, 8]
    return logits.index_select(0, at) + added.view(rows, 32 * width)[:, : logits.shape[1]]


@cache
def _table() -> Tensor:
    """[256, 8]: 0 where the bit is set, the lowest first, and -inf where it is not."""
    bits = torch.arange(256)[:, None] >> torch.arange(8) & 1
    return torch.zeros(256, 8).masked_fill_(bits == 0, -torch.inf)
