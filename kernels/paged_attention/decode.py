"""Attention of rows with one query each over the cache's blocks where they lie, as a compiled loop.

An item is one KV head of a row, with the query heads that share it. Its scores against all keys are made block by
block, then their softmax, then the mix of the values block by block. Blocks are asked for while others are read: no
hardware guesses where they lie.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from kernels._loops import BITS, COUNT, FIRST, Loop, address, function, helper, loop, take, tensor
from kernels._vectors import LANES, REGISTERS, exp, larger, multiply, narrow, prefetch, widen
from kernels.paged_attention.batch import Page

LINE = 64  # bytes that are fetched together
AHEAD = 2  # blocks
TYPICAL = 256  # positions that a query sees; only to tell what is short
BUSY = 8  # vectors: an addition takes four turns, and two begin in each
FEWEST = np.float32(-1e30)


def decode(
    q: Tensor, cache: Tensor, page: Page, tables: Tensor, tiles: Tensor, scale: float, window: int, out: Tensor
) -> None:
    """out[t] = the attention of query t over the last `window` positions (0: over all) up to its own, for tiles of one.

    q [T, >= heads * D] with any stride between rows; out [T, heads * D] in q's dtype; cache [blocks, ...]; tables
    [R, W] int32; tiles [n, 4] int32: row of the table, query, its position, 1. All contiguous, but for q.
    """
    sharing = out.shape[-1] // page.dim // page.kv_heads
    work = len(tiles) * TYPICAL * page.kv_heads * page.dim
    _decode(q.dtype, page, sharing, scale)(len(tiles), work, *words(q, cache, tables, tiles, window, out))


def words(q: Tensor, cache: Tensor, tables: Tensor, tiles: Tensor, window: int, out: Tensor) -> tuple[int, ...]:
    """What a loop over tiles is called with. Raises ValueError for tensors with gaps; only rows of q may have some."""
    if q.stride(1) != 1:
        raise ValueError(f"attention reads rows of queries without gaps; these have strides {q.stride()}")
    return (
        address(q, gaps=True),
        q.stride(0),
        len(out),
        address(cache),
        len(cache),
        address(tables),
        *tables.shape,
        address(tiles),
        address(out),
        window,
    )


@helper
def ask(tile, step):
    for at in range(0, len(tile), step):
        prefetch(tile, at)


@function
def softmax(x, first, end):
    """x [n] in place: shares over [first, end), zeros elsewhere."""
    seen, top, total = x[first:end], FEWEST, np.float32(0)
    for j in range(len(seen)):
        top = larger(top, seen[j])
    for j in range(len(seen)):
        seen[j] = exp(seen[j] - top)
        total += seen[j]
    share = np.float32(1) / total
    for j in range(len(seen)):
        seen[j] *= share
    x[:first] = np.float32(0)
    x[end:] = np.float32(0)


def _parts(vectors: int, inner: int) -> int:
    """How many parts a sum is made in, so that some BUSY vectors are on their way at once."""
    return next(parts for parts in (8, 4, 2, 1) if inner % parts == 0 and (parts == 1 or vectors * parts <= BUSY))


def _columns(rows: int, dim: int) -> int:
    """How many of `dim` columns are made at once with so many rows: what half of the registers hold, or the fewest."""
    whole = [columns for columns in (dim, 128, 64, 32, 16) if dim % columns == 0]
    return next((columns for columns in whole if rows * columns <= REGISTERS // 2 * LANES), min(whole))


@cache
def _decode(dtype: torch.dtype, page: Page, sharing: int, scale: float) -> Loop:
    bits, block_size, kv_heads, dim = BITS[dtype], page.block_size, page.kv_heads, page.dim
    half, step = block_size * dim, LINE // dtype.itemsize
    parts, columns = _parts(sharing * -(-block_size // LANES), dim), _columns(sharing, dim)

    def body(words):
        items, stride, total, blocks = words[COUNT] * kv_heads, words[FIRST + 1], words[FIRST + 2], words[FIRST + 4]
        rows, width, window = words[FIRST + 6], words[FIRST + 7], words[FIRST + 10]
        q = tensor(words, FIRST, (total * stride,), bits)
        halves = tensor(words, FIRST + 3, (blocks, kv_heads, 2, half), bits)
        tables = tensor(words, FIRST + 5, (rows, width), np.int32)
        tiles = tensor(words, FIRST + 8, (items // kv_heads, 4), np.int32)
        out = tensor(words, FIRST + 9, (total, kv_heads, sharing * dim), bits)
        asked, mixed = np.empty(sharing * dim, np.float32), np.empty(sharing * dim, np.float32)
        item = take(words)
        while item < items:
            tile, head = tiles[item // kv_heads], item % kv_heads
            row, query, position = tile[0], tile[1], tile[2]
            low = max(0, position - window + 1) if window else 0
            first, last = low // block_size, position // block_size
            line = (last + 1 - first) * block_size
            scores = np.empty(sharing * line, np.float32)
            x = q[query * stride + head * sharing * dim :]
            for d in range(sharing * dim):
                asked[d] = widen(x[d]) * np.float32(scale)
            for b in range(first, last + 1):
                ask(halves[tables[row, min(b + AHEAD, last)], head, 0], step)
                to, keys = scores[(b - first) * block_size :], halves[tables[row, b], head, 0]
                multiply(to, line, asked, dim, keys, block_size, dim, sharing, block_size, parts, False, None)
            ask(halves[tables[row, first], head, 1], step)
            for g in range(sharing):
                softmax(scores[g * line : (g + 1) * line], low - first * block_size, position + 1 - first * block_size)
            for b in range(first, last + 1):
                ask(halves[tables[row, min(b + AHEAD, last)], head, 1], step)
                shares, values = scores[(b - first) * block_size :], halves[tables[row, b], head, 1]
                for d in range(0, dim, columns):
                    to, value = mixed[d:], values[d:]
                    multiply(to, dim, shares, line, value, dim, block_size, sharing, columns, 1, b > first, None)
            target = out[query, head]
            for d in range(sharing * dim):
                target[d] = narrow(mixed[d], target[d])
            item = take(words)

    return loop(body)
