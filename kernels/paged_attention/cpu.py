"""Paged attention of a step on a CPU: which queries are taken together, worked out once for all layers."""

import torch
from torch import Tensor

from kernels.paged_attention.batch import Page, PagedBatch
from kernels.paged_attention.decode import decode
from kernels.paged_attention.prefill import TILE, prefill


class PagedAttention:
    """The attention of one step: made once, called once for each layer."""

    def __init__(self, batch: PagedBatch, page: Page, heads: int, scale: float) -> None:
        """`heads` is the number of query heads."""
        self._batch = batch
        self._page = page
        self._heads = heads
        self._scale = scale
        self._decoding, self._prefilling = _tiles(batch)

    def __call__(self, qkv: Tensor, cache: Tensor, window: int | None = None) -> Tensor:
        """qkv [T, (heads + 2 * kv_heads) * D]: its keys and values are in `cache` already, [num_blocks, ...].

        Each query sees at most the last `window` positions, itself among them. Returns [T, heads * D].
        """
        out = qkv.new_empty(len(qkv), self._heads * self._page.dim)
        for attend, tiles in (decode, self._decoding), (prefill, self._prefilling):
            if len(tiles):
                attend(qkv, cache, self._page, self._batch.tables, tiles, self._scale, window or 0, out)
        return out


def _tiles(batch: PagedBatch) -> tuple[Tensor, Tensor]:
    """Rows of (row, query, position, count): of rows with one query, and of those with more."""
    decoding: list[tuple[int, ...]] = []
    prefilling: list[tuple[int, ...]] = []
    query = 0
    for row, (start, count) in enumerate(zip(batch.starts, batch.counts, strict=True)):
        if count == 1:
            decoding.append((row, query, start, 1))
        else:
            prefilling.extend(
                (row, query + done, start + done, min(TILE, count - done)) for done in range(0, count, TILE)
            )
        query += count
    return torch.tensor(decoding, dtype=torch.int32), torch.tensor(prefilling, dtype=torch.int32)
