"""o[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h // G]) v[j, h // G], one query at a time.

j runs over the positions that the query at position p sees: j <= p and, with a sliding window, j > p - window.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """Row n asks with its positions [starts[n], starts[n] + counts[n]); the queries of all lie one after the other."""

    tables: Tensor  # [N, W] int32: block ids of each row
    starts: tuple[int, ...]
    counts: tuple[int, ...]


def paged_attention(q: Tensor, cache: Tensor, rows: Rows, scale: float, window: int | None = None) -> Tensor:
    """q [T, heads, D], cache [num_blocks, block_size, 2, kv_heads, D]; returns like q, computed in q's dtype."""
    out, t = torch.empty_like(q), 0
    group = q.shape[1] // cache.shape[3]
    for row, (start, count) in enumerate(zip(rows.starts, rows.counts, strict=True)):
        kv = cache[rows.tables[row].long()].flatten(0, 1).to(q.dtype)  # [W * block_size, 2, kv_heads, D]
        for position in range(start, start + count):
            first = 0 if window is None else max(0, position - window + 1)
            keys, values = kv[first : position + 1].repeat_interleave(group, dim=2).unbind(1)  # [seen, heads, D]
            scores = torch.einsum("hd,jhd->hj", q[t], keys) * scale
            out[t] = torch.einsum("hj,jhd->hd", scores.softmax(-1), values)
            t += 1
    return out
