"""The same, row by row."""

import math

from torch import Tensor


def forbid(logits: Tensor, stops: Tensor, free_from: Tensor, rows: Tensor, ends: Tensor) -> Tensor:
    """logits [S, V] changed in place, in the dtype given."""
    for x, row, end in zip(logits, rows.tolist(), ends.tolist(), strict=True):
        if row >= 0 and end < int(free_from[row]):
            x[[id for id in stops[row].tolist() if id >= 0]] = -math.inf
    return logits
