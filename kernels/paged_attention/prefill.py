"""Attention of rows with many queries over the cache's blocks where they lie, as a compiled loop.

An item is one KV head of a tile: queries of one row at positions that follow one another, with the query heads that
share it. Blocks are widened to float32 as many at a time as fill the columns of a matrix product, and the two products
of attention are sums in registers (`multiply`); between them stands the softmax of each query, over all it sees.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from kernels._loops import BITS, COUNT, FIRST, Loop, helper, loop, take, tensor
from kernels._vectors import LANES, REGISTERS, multiply, narrow, widen
from kernels.paged_attention.batch import TILE, Page
from kernels.paged_attention.decode import LINE, TYPICAL, ask, softmax, words

SPAN = 64  # keys that are widened together, or one block
ROWS, COLUMNS = REGISTERS // 4, 2 * LANES  # of a product that is made at once, in half of the registers


def prefill(
    q: Tensor, cache: Tensor, page: Page, tables: Tensor, tiles: Tensor, scale: float, window: int, out: Tensor
) -> None:
    """As `decode`, with tiles of up to TILE queries: row of the table, first query, its position, how many."""
    sharing = out.shape[-1] // page.dim // page.kv_heads
    products = len(tiles) * TILE * TYPICAL * page.kv_heads * sharing * page.dim
    _prefill(q.dtype, page, sharing, scale)(len(tiles), products, *words(q, cache, tables, tiles, window, out))


@helper
def _widen(tile, wide, at, stride):
    """wide [:, at:] = tile; `wide` has one dimension."""
    for i in range(tile.shape[0]):
        line = wide[at + i * stride :]
        for j in range(tile.shape[1]):
            line[j] = widen(tile[i, j])


def _up(n: int, unit: int) -> int:
    return -(-n // unit) * unit


@cache
def _prefill(dtype: torch.dtype, page: Page, sharing: int, scale: float) -> Loop:
    bits, block_size, kv_heads, dim = BITS[dtype], page.block_size, page.kv_heads, page.dim
    half, step = block_size * dim, LINE // dtype.itemsize
    per = max(1, SPAN // block_size)  # blocks of a span
    span, lanes, wide_dim = per * block_size, _up(per * block_size, COLUMNS), _up(dim, COLUMNS)
    most = _up(TILE * sharing, ROWS)

    def body(words):
        items, stride, total, blocks = words[COUNT] * kv_heads, words[FIRST + 1], words[FIRST + 2], words[FIRST + 4]
        rows, width, window = words[FIRST + 6], words[FIRST + 7], words[FIRST + 10]
        q = tensor(words, FIRST, (total * stride,), bits)
        halves = tensor(words, FIRST + 3, (blocks, kv_heads, 2, half), bits)
        keys = tensor(words, FIRST + 3, (blocks, kv_heads, 2, dim, block_size), bits)
        values = tensor(words, FIRST + 3, (blocks, kv_heads, 2, block_size, dim), bits)
        tables = tensor(words, FIRST + 5, (rows, width), np.int32)
        tiles = tensor(words, FIRST + 8, (items // kv_heads, 4), np.int32)
        out = tensor(words, FIRST + 9, (total, kv_heads, sharing, dim), bits)
        asked, mixed = np.zeros(most * dim, np.float32), np.empty(most * wide_dim, np.float32)
        wide_keys, wide_values = np.zeros(dim * lanes, np.float32), np.zeros(span * wide_dim, np.float32)
        item = take(words)
        while item < items:
            tile, head = tiles[item // kv_heads], item % kv_heads
            row, query, position, count = tile[0], tile[1], tile[2], tile[3]
            low = max(0, position - window + 1) if window else 0
            first, last = low // block_size, (position + count - 1) // block_size
            origin, length = first * block_size, (last + 1 - first) * block_size
            line = (length // span + 1) * span + COLUMNS  # of the scores of one query
            scores = np.empty(most * line, np.float32)
            for g in range(count * sharing):
                at = (query + g // sharing) * stride + (head * sharing + g % sharing) * dim
                x, line_of_x = q[at : at + dim], asked[g * dim : (g + 1) * dim]
                for d in range(dim):
                    line_of_x[d] = widen(x[d]) * np.float32(scale)
            for b in range(first, last + 1, per):
                for i in range(min(per, last + 1 - b)):
                    ask(halves[tables[row, min(b + i + 1, last)], head, 0], step)
                    _widen(keys[tables[row, b + i], head, 0], wide_keys, i * block_size, lanes)
                for g in range(0, count * sharing, ROWS):
                    for j in range(0, span, COLUMNS):
                        to = scores[g * line + b * block_size - origin + j :]
                        multiply(
                            to, line, asked[g * dim :], dim, wide_keys[j:], lanes, dim, ROWS, COLUMNS, 1, False, None
                        )
            for g in range(count * sharing):
                own = position + g // sharing
                seen = max(0, own - window + 1) - origin if window else 0
                softmax(scores[g * line : g * line + length], seen, own + 1 - origin)
            for b in range(first, last + 1, per):
                n = min(per, last + 1 - b)
                for i in range(n):
                    ask(halves[tables[row, min(b + i + 1, last)], head, 1], step)
                    _widen(values[tables[row, b + i], head, 1], wide_values, i * block_size * wide_dim, wide_dim)
                for g in range(0, count * sharing, ROWS):
                    shares = scores[g * line + b * block_size - origin :]
                    for d in range(0, dim, COLUMNS):
                        to = mixed[g * wide_dim + d :]
                        inner = n * block_size
                        value = wide_values[d:]
                        multiply(to, wide_dim, shares, line, value, wide_dim, inner, ROWS, COLUMNS, 1, b > first, None)
            for g in range(count * sharing):
                target, line_of_x = out[query + g // sharing, head, g % sharing], mixed[g * wide_dim :]
                for d in range(dim):
                    target[d] = narrow(line_of_x[d], target[d])
            item = take(words)

    return loop(body)
