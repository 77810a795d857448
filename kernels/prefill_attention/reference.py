"""Attention of each query by itself, by the reference of paged attention."""

from torch import Tensor

from kernels.paged_attention.reference import Rows, paged_attention


def prefill_attention(
    q: Tensor,
    cache: Tensor,
    tables: Tensor,
    rows: Tensor,
    firsts: Tensor,
    starts: Tensor,
    scale: float,
    window: int | None = None,
) -> Tensor:
    """[T, heads * D] in q's dtype."""
    counts = tuple(firsts.diff().tolist())
    batch = Rows(tables[rows.long()], tuple(starts.tolist()), counts)
    return paged_attention(q, cache, batch, scale, window).flatten(1)
