"""Norm and rotation of queries and keys, and the write of keys and values to the cache, in one pass of a compiled loop.

The cache's blocks are laid out as `kernels.paged_attention.batch` says.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from kernels._loops import BITS, COUNT, FIRST, Loop, address, loop, take, tensor
from kernels.paged_attention.batch import Page
from kernels.qk_rope_write.head import turn


def qk_rope_write(
    qkv: Tensor,
    cache: Tensor,
    page: Page,
    table: Tensor,
    positions: Tensor,
    slots: Tensor,
    weight: Tensor | None = None,
    eps: float = 0.0,
) -> None:
    """qkv [T, (heads + 2 * kv_heads) * D], contiguous, float32 | bfloat16: its queries and keys are changed in place.

    table [P, 2, D] of `rope_table`; positions [T] int32; slots [T] int64, where slot = block id * block size + offset
    in it; weight [heads + kv_heads, D] of the norm, where there is one.
    """
    heads = qkv.shape[1] // page.dim - 2 * page.kv_heads
    run = _qk_rope_write(qkv.dtype, heads, page, weight is not None, eps)
    run(
        len(qkv),
        2 * qkv.numel(),
        address(qkv),
        address(cache),
        address(table),
        address(positions),
        address(slots),
        address(weight),
        len(cache),
        len(table),
    )


@cache
def _qk_rope_write(dtype: torch.dtype, heads: int, page: Page, has_norm: bool, eps: float) -> Loop:
    bits, block_size, kv_heads, dim = BITS[dtype], page.block_size, page.kv_heads, page.dim

    def body(words):
        tokens, blocks, limit = words[COUNT], words[FIRST + 6], words[FIRST + 7]
        qkv = tensor(words, FIRST, (tokens, heads + 2 * kv_heads, dim), bits)
        keys = tensor(words, FIRST + 1, (blocks, kv_heads, 2, dim, block_size), bits)
        values = tensor(words, FIRST + 1, (blocks, kv_heads, 2, block_size, dim), bits)
        table = tensor(words, FIRST + 2, (limit, 2 * dim), bits)
        positions = tensor(words, FIRST + 3, (tokens,), np.int32)
        slots = tensor(words, FIRST + 4, (tokens,), np.int64)
        weight = tensor(words, FIRST + 5, (heads + kv_heads, dim), bits)
        t = take(words)
        while t < tokens:
            turns = table[positions[t]]
            for head in range(heads + kv_heads):
                if has_norm:
                    turn(qkv[t, head], weight[head], turns, dim, np.float32(eps))
                else:
                    turn(qkv[t, head], None, turns, dim, np.float32(eps))
            block, offset = divmod(slots[t], block_size)
            for head in range(kv_heads):
                key, value = qkv[t, heads + head], qkv[t, heads + kv_heads + head]
                for d in range(dim):
                    keys[block, head, 0, d, offset] = key[d]
                values[block, head, 1, offset, :] = value
            t = take(words)

    return loop(body)
