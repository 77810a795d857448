"""Attention of the last position of each row, by the reference of paged attention."""

import torch
from torch import Tensor

from kernels.paged_attention.reference import Rows, paged_attention


def decode_attention(
    q: Tensor, cache: Tensor, tables: Tensor, rows: Tensor, lengths: Tensor, scale: float, window: int | None = None
) -> Tensor:
    """[N, heads * D] in q's dtype; rows of length 0 give 0."""
    out = torch.zeros_like(q)
    live = lengths > 0
    starts = lengths[live] - 1
    ids = tables[rows[live].long()]
    batch = Rows(ids, tuple(starts.tolist()), (1,) * len(starts))
    out[live] = paged_attention(q[live], cache, batch, scale, window)
    return out.flatten(1)
