"""Which queries of a step see which keys, and how keys and values come into the cache.

The cache of a layer is [num_blocks, block_size, 2, kv_heads, head_dim]: all of a token lies together, keys before
values, so a step writes each token with one copy and reads each block with one copy.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class PagedBatch:
    """Row n asks with its positions [starts[n], starts[n] + counts[n]), and each sees itself and those before it.

    The queries of all rows lie one after the other, in the order of rows. Rows with one query come first, in the order
    of their starts. `tables` [N, W] int32 holds the block ids of each row, W enough for the longest; ids past a row's
    end may be any valid ones. `starts` and `counts` are on the host; `device_starts` [N] int32 is where `tables` is.
    """

    tables: Tensor
    device_starts: Tensor
    starts: tuple[int, ...]
    counts: tuple[int, ...]


def write_kv(cache: Tensor, slots: Tensor, kv: Tensor) -> None:
    """Store kv [T, 2 * kv_heads * head_dim] at slots [T] int64, where slot = block id * block_size + offset in it."""
    cache.view(-1, kv.shape[-1]).index_copy_(0, slots, kv)
