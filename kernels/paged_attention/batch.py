"""Which queries of a step see which keys, and how keys and values lie in the cache of a CPU.

Each block of a layer's cache holds, for one KV head after the other, the keys [D, block_size] and the values
[block_size, D]. So what one head reads of a block lies together, and the products of a query with all keys of a block
are a sum of vectors over its D dimensions, which no lane has to add up across.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Page(NamedTuple):
    """The sizes of a block: [kv_heads, 2, block_size * dim] elements."""

    block_size: int
    kv_heads: int
    dim: int


@dataclass(frozen=True, slots=True)
class PagedBatch:
    """Row n asks with its positions [starts[n], starts[n] + counts[n]), and each sees itself and those before it.

    The queries of all rows lie one after the other, in the order of rows. `tables` [N, W] int32 holds the block ids of
    each row, W enough for the longest.
    """

    tables: Tensor
    starts: tuple[int, ...]
    counts: tuple[int, ...]
