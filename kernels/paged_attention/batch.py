"""Which queries of a step see which keys, and how keys and values lie in the cache of a CPU.

Each block of a layer's cache holds, for one KV head after the other, the keys [D, block_size] and the values
[block_size, D]. So what one head reads of a block lies together, and the products of a query with all keys of a block
are a sum of vectors over its D dimensions, which no lane has to add up across.
"""

from typing import NamedTuple

from torch import Tensor

TILE = 16  # queries at most of one row, which share what is read


class Page(NamedTuple):
    """The sizes of a block: [kv_heads, 2, block_size * dim] elements."""

    block_size: int
    kv_heads: int
    dim: int


class PagedBatch(NamedTuple):
    """A tile is (row, query, position, count): so many queries of one row at positions that follow one another, each of
    which sees itself and those before it."""

    tables: Tensor  # [R, W] int32: the block ids of each row
    decoding: Tensor  # [D, 4] int32: tiles of one query
    prefilling: Tensor  # [P, 4] int32: tiles of up to TILE
