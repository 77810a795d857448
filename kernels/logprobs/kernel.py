"""l[s, v] = x[s, v] - log(sum_u exp(x[s, u])): of the drawn token with its rank, and of the K best tokens of each row.

    logits  [S, V]  fp32, stride(1) == 1; only read      drawn  [S] int32
    ->  chosen [S] fp32    ranks [S] int32, 1 for the best    ids [S, K] int32    best [S, K] fp32, falling

A logit and its id make one int64 that orders as the logit does and, among equals, has the smaller id first; so the best
K come by K rounds of a maximum over registers, and the row is read once. `_split` does that for SPLIT logits, `_join`
for what the splits of a row leave. K is a power of two at least as large as what is asked for.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels._math import ordered, unordered

SPLIT = 4096
MOST_K = 32


class Logprobs(NamedTuple):
    chosen: torch.Tensor
    ranks: torch.Tensor
    ids: torch.Tensor
    best: torch.Tensor


@triton.jit(do_not_specialize=["drawn_ptr"])
def _split(
    keys_ptr, tops_ptr, sums_ptr, greater_ptr, x_ptr, drawn_ptr,
    x_stride_s,
    V,
    K: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    s, split = tl.program_id(0), tl.program_id(1)
    index = s.to(tl.int64) * tl.num_programs(1) + split
    x_ptr += s.to(tl.int64) * x_stride_s
    v = split * SPLIT + tl.arange(0, SPLIT)
    x = tl.load(x_ptr + v, mask=v < V, other=-float("inf"))  # [SPLIT]
    top = tl.max(x, axis=0)
    base = tl.where(top == -float("inf"), 0.0, top)
    tl.store(tops_ptr + index, base)
    tl.store(sums_ptr + index, tl.sum(tl.exp(x - base), axis=0))
    tl.store(greater_ptr + index, tl.sum((x > tl.load(x_ptr + tl.load(drawn_ptr + s))).to(tl.int32), axis=0))
    none = tl.full([], -0x7FFFFFFFFFFFFFFF, tl.int64)
    key = (ordered(x).to(tl.int64) << 32) | (2147483647 - v).to(tl.int64)
    key = tl.where(v < V, key, none)
    for k in tl.static_range(K):
        best = tl.max(key, axis=0)
        tl.store(keys_ptr + index * K + k, best)
        key = tl.where(key == best, none, key)


@triton.jit(do_not_specialize=["drawn_ptr", "ASKED"])
def _join(
    chosen_ptr, ranks_ptr, ids_ptr, best_ptr, keys_ptr, tops_ptr, sums_ptr, greater_ptr, x_ptr, drawn_ptr,
    x_stride_s,
    SPLITS, ASKED,
    K: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK_S)
    m = i < SPLITS
    tops = tl.load(tops_ptr + s * SPLITS + i, mask=m, other=-float("inf"))
    sums = tl.load(sums_ptr + s * SPLITS + i, mask=m, other=0.0)
    top = tl.max(tops, axis=0)
    total = top + tl.log(tl.sum(sums * tl.exp(tops - top), axis=0))
    tl.store(chosen_ptr + s, tl.load(x_ptr + s * x_stride_s + tl.load(drawn_ptr + s)) - total)
    tl.store(ranks_ptr + s, 1 + tl.sum(tl.load(greater_ptr + s * SPLITS + i, mask=m, other=0), axis=0))
    none = tl.full([], -0x7FFFFFFFFFFFFFFF, tl.int64)
    c = tl.arange(0, BLOCK_S * K)
    key = tl.load(keys_ptr + s * SPLITS * K + c, mask=c < SPLITS * K, other=-0x7FFFFFFFFFFFFFFF)
    for k in range(ASKED):
        best = tl.max(key, axis=0)
        tl.store(ids_ptr + s * ASKED + k, 2147483647 - (best & 0xFFFFFFFF).to(tl.int32))
        tl.store(best_ptr + s * ASKED + k, unordered((best >> 32).to(tl.int32)) - total)
        key = tl.where(key == best, none, key)


def logprobs(logits: torch.Tensor, drawn: torch.Tensor, k: int) -> Logprobs:
    """`k` may be 0: then ids and best are empty."""
    S, V = logits.shape
    if drawn.shape != (S,) or drawn.dtype != torch.int32 or logits.dtype != torch.float32 or logits.stride(1) != 1:
        raise ValueError(f"logprobs: logits {logits.dtype}{[*logits.shape]}, drawn {drawn.dtype}{[*drawn.shape]}")
    if not 0 <= k <= min(MOST_K, V):
        raise ValueError(f"logprobs: k {k} must lie between 0 and {min(MOST_K, V)}")
    results = Logprobs(logits.new_empty(S), drawn.new_empty(S), drawn.new_empty(S, k), logits.new_empty(S, k))
    if S:
        splits, block = triton.cdiv(V, SPLIT), triton.next_power_of_2(max(k, 1))
        keys = drawn.new_empty(S, splits, block, dtype=torch.int64)
        tops, sums, greater = logits.new_empty(S, splits), logits.new_empty(S, splits), drawn.new_empty(S, splits)
        _split[(S, splits)](
            keys, tops, sums, greater, logits, drawn,
            logits.stride(0),
            V,
            K=block, SPLIT=SPLIT,
            num_warps=8, enable_fp_fusion=True,
        )  # fmt: skip
        _join[(S,)](
            *results, keys, tops, sums, greater, logits, drawn,
            logits.stride(0),
            splits, k,
            K=block, BLOCK_S=triton.next_power_of_2(splits),
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return results
