"""Attention of rows with one query each over the cache's blocks where they lie, as a compiled loop.

An item is one KV head of a row, with the query heads that share it. Its scores against all keys are made block by
block, then their softmax, then the mix of the values block by block. The next block is asked for while one is read: no
hardware guesses where it lies.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from kernels._loops import BITS, FIRST, ITEMS, Loop, address, function, helper, loop, take, tensor
from kernels._vectors import exp, larger, narrow, prefetch, widen
from kernels.paged_attention.batch import Page

LINE = 64  # bytes that are fetched together
UNROLLED = 8  # products that are added before the sum is stored
FEWEST = np.float32(-1e30)


def decode(
    q: Tensor, cache: Tensor, page: Page, tables: Tensor, tiles: Tensor, scale: float, window: int, out: Tensor
) -> None:
    """out[t] = the attention of query t over the last `window` positions (0: over all) up to its own, for tiles of one.

    q [T, >= heads * D] with any stride between rows; out [T, heads * D] in q's dtype; cache [blocks, ...]; tables
    [N, W] int32; tiles [n, 4] int32: row of the table, query, its position, 1. All contiguous, but for q.
    """
    sharing = out.shape[-1] // page.dim // page.kv_heads
    _decode(q.dtype, page, sharing, scale)(*words(q, cache, page, tables, tiles, window, out))


def words(
    q: Tensor, cache: Tensor, page: Page, tables: Tensor, tiles: Tensor, window: int, out: Tensor
) -> tuple[int, ...]:
    """What a loop over tiles is called with."""
    return (
        len(tiles) * page.kv_heads,
        tables.numel() * page.block_size * page.kv_heads * page.dim,
        address(q),
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


@helper
def _score(q, keys, scores):
    """scores [G, block] = q [G, D] times keys [D, block]."""
    queries, dim = q.shape
    block_size, even = keys.shape[1], dim - dim % UNROLLED
    for g in range(queries):
        for j in range(block_size):
            scores[g, j] = np.float32(0)
    for d in range(0, even, UNROLLED):
        for g in range(queries):
            q0, q1, q2, q3 = q[g, d], q[g, d + 1], q[g, d + 2], q[g, d + 3]
            q4, q5, q6, q7 = q[g, d + 4], q[g, d + 5], q[g, d + 6], q[g, d + 7]
            for j in range(block_size):
                scores[g, j] += (
                    (q0 * widen(keys[d, j]) + q1 * widen(keys[d + 1, j]))
                    + (q2 * widen(keys[d + 2, j]) + q3 * widen(keys[d + 3, j]))
                ) + (
                    (q4 * widen(keys[d + 4, j]) + q5 * widen(keys[d + 5, j]))
                    + (q6 * widen(keys[d + 6, j]) + q7 * widen(keys[d + 7, j]))
                )
    for d in range(even, dim):
        for g in range(queries):
            for j in range(block_size):
                scores[g, j] += q[g, d] * widen(keys[d, j])


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


@helper
def _mix(shares, values, mixed):
    """mixed [G, D] += shares [G, block] times values [block, D]."""
    queries, dim = mixed.shape
    block_size = values.shape[0]
    even = block_size - block_size % UNROLLED
    for j in range(0, even, UNROLLED):
        for g in range(queries):
            p0, p1, p2, p3 = shares[g, j], shares[g, j + 1], shares[g, j + 2], shares[g, j + 3]
            p4, p5, p6, p7 = shares[g, j + 4], shares[g, j + 5], shares[g, j + 6], shares[g, j + 7]
            for d in range(dim):
                mixed[g, d] += (
                    (p0 * widen(values[j, d]) + p1 * widen(values[j + 1, d]))
                    + (p2 * widen(values[j + 2, d]) + p3 * widen(values[j + 3, d]))
                ) + (
                    (p4 * widen(values[j + 4, d]) + p5 * widen(values[j + 5, d]))
                    + (p6 * widen(values[j + 6, d]) + p7 * widen(values[j + 7, d]))
                )
    for j in range(even, block_size):
        for g in range(queries):
            for d in range(dim):
                mixed[g, d] += shares[g, j] * widen(values[j, d])


@cache
def _decode(dtype: torch.dtype, page: Page, sharing: int, scale: float) -> Loop:
    bits, block_size, kv_heads, dim = BITS[dtype], page.block_size, page.kv_heads, page.dim
    half, step = block_size * dim, LINE // dtype.itemsize

    def body(words):
        items, stride, total, blocks = words[ITEMS], words[FIRST + 1], words[FIRST + 2], words[FIRST + 4]
        rows, width, window = words[FIRST + 6], words[FIRST + 7], words[FIRST + 10]
        q = tensor(words, FIRST, (total * stride,), bits)
        halves = tensor(words, FIRST + 3, (blocks, kv_heads, 2, half), bits)
        keys = tensor(words, FIRST + 3, (blocks, kv_heads, 2, dim, block_size), bits)
        values = tensor(words, FIRST + 3, (blocks, kv_heads, 2, block_size, dim), bits)
        tables = tensor(words, FIRST + 5, (rows, width), np.int32)
        tiles = tensor(words, FIRST + 8, (items // kv_heads, 4), np.int32)
        out = tensor(words, FIRST + 9, (total, kv_heads, sharing, dim), bits)
        asked = np.empty((sharing, dim), np.float32)
        mixed = np.empty((sharing, dim), np.float32)
        item = take(words)
        while item < items:
            tile, head = tiles[item // kv_heads], item % kv_heads
            row, query, position = tile[0], tile[1], tile[2]
            low = max(0, position - window + 1) if window else 0
            first, last = low // block_size, position // block_size
            scores = np.empty((sharing, (last + 1 - first) * block_size), np.float32)
            for g in range(sharing):
                at = query * stride + (head * sharing + g) * dim
                x = q[at : at + dim]
                for d in range(dim):
                    asked[g, d] = widen(x[d]) * np.float32(scale)
                    mixed[g, d] = np.float32(0)
            for b in range(first, last + 1):
                ask(halves[tables[row, min(b + 1, last)], head, 0], step)
                at = (b - first) * block_size
                _score(asked, keys[tables[row, b], head, 0], scores[:, at : at + block_size])
            ask(halves[tables[row, first], head, 1], step)
            for g in range(sharing):
                softmax(scores[g], low - first * block_size, position + 1 - first * block_size)
            for b in range(first, last + 1):
                ask(halves[tables[row, min(b + 1, last)], head, 1], step)
                at = (b - first) * block_size
                _mix(scores[:, at : at + block_size], values[tables[row, b], head, 1], mixed)
            for g in range(sharing):
                target = out[query, head, g]
                for d in range(dim):
                    target[d] = narrow(mixed[g, d], target[d])
            item = take(words)

    return loop(body)
