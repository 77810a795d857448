"""Paged attention of a step on a CPU."""

from torch import Tensor

from kernels.paged_attention.batch import Page, PagedBatch
from kernels.paged_attention.decode import decode
from kernels.paged_attention.prefill import prefill


class PagedAttention:
    """The attention of one step: made once, called once for each layer."""

    def __init__(self, batch: PagedBatch, page: Page, heads: int, scale: float) -> None:
        """`heads` is the number of query heads."""
        self._batch = batch
        self._page = page
        self._heads = heads
        self._scale = scale

    def __call__(self, qkv: Tensor, cache: Tensor, window: int | None = None) -> Tensor:
        """qkv [T, (heads + 2 * kv_heads) * D]: its keys and values are in `cache` already, [num_blocks, ...].

        Each query sees at most the last `window` positions, itself among them. Returns [T, heads * D].
        """
        out = qkv.new_empty(len(qkv), self._heads * self._page.dim)
        for attend, tiles in (decode, self._batch.decoding), (prefill, self._batch.prefilling):
            if len(tiles):
                attend(qkv, cache, self._page, self._batch.tables, tiles, self._scale, window or 0, out)
        return out
