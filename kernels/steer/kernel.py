"""What may be drawn: x[v] = -inf unless allowed, x[v] += bias[v], x[v] = -inf where a banned sequence would end in v,
and for each stop id while the position is below the one from which on all may be drawn. Of r = rows[s]:

    logits  [S, V]  fp32, stride(1) == 1; changed in place      rows  [S] int32: which row of the others each is of
    tokens  [R, L] int32, stride(1) == 1: the ids of each row   ends  [S] int32: how many of them are known
    lists   [R, K] int32, stride(1) == 1: one after the other
            stop ids | ids with a bias | their biases, as bits | allowed ids | the last ids of the banned sequences |
            the lengths of what comes before these | where that begins among what follows | the ids before the last
    columns [R, 6] int32, stride(1) == 1: length of the prompt, position from which on stop ids may be drawn, and the
            numbers of stop ids, of biases, of allowed ids (0: any; at most MOST_ALLOWED) and of banned sequences
A sequence is banned within the output: all of its ids but the last must have been drawn. Ids with a bias come once.
One program for a row, which leaves at once where nothing is asked. A row below 0 is padding.
"""

import torch
import triton
import triton.language as tl

BLOCK, BLOCK_V, MOST_ALLOWED = 256, 2048, 1024
COLUMNS = 6


@triton.jit
def _allow_only(x_ptr, ids_ptr, count, V, BLOCK_V: tl.constexpr, MOST: tl.constexpr):
    """Other threads write what a thread has read or writes after them: hence the barriers."""
    k = tl.arange(0, MOST)
    id = tl.load(ids_ptr + k, mask=k < count, other=-1)
    known = (id >= 0) & (id < V)
    x = tl.load(x_ptr + id, mask=known, other=0.0)
    tl.debug_barrier()
    for first in range(0, V, BLOCK_V):
        v = first + tl.arange(0, BLOCK_V)
        tl.store(x_ptr + v, tl.full([BLOCK_V], -float("inf"), tl.float32), mask=v < V)
    tl.debug_barrier()
    tl.store(x_ptr + id, x, mask=known)


@triton.jit
def _add_biases(x_ptr, ids_ptr, count, V, BLOCK: tl.constexpr):
    for first in range(0, count, BLOCK):
        k = first + tl.arange(0, BLOCK)
        id = tl.load(ids_ptr + k, mask=k < count, other=-1)
        known = (id >= 0) & (id < V)
        bias = tl.load(ids_ptr + count + k, mask=k < count, other=0).to(tl.float32, bitcast=True)
        tl.store(x_ptr + id, tl.load(x_ptr + id, mask=known, other=0.0) + bias, mask=known)


@triton.jit
def _forbid(x_ptr, ids_ptr, count, V, BLOCK: tl.constexpr):
    for first in range(0, count, BLOCK):
        k = first + tl.arange(0, BLOCK)
        id = tl.load(ids_ptr + k, mask=k < count, other=-1)
        tl.store(x_ptr + id, tl.full([BLOCK], -float("inf"), tl.float32), mask=(id >= 0) & (id < V))


@triton.jit
def _ban(x_ptr, bans_ptr, count, tokens_ptr, prompt, end, V, BLOCK: tl.constexpr):
    for first in range(0, count, BLOCK):
        b = first + tl.arange(0, BLOCK)
        m = b < count
        id = tl.load(bans_ptr + b, mask=m, other=-1)
        length = tl.load(bans_ptr + count + b, mask=m, other=0)
        before_ptr = bans_ptr + 3 * count + tl.load(bans_ptr + 2 * count + b, mask=m, other=0)
        same = m & (length <= end - prompt)
        for i in range(0, tl.max(length, axis=0)):
            here = same & (i < length)
            want = tl.load(before_ptr + i, mask=here, other=0)
            same &= (want == tl.load(tokens_ptr + end - length + i, mask=here, other=0)) | (i >= length)
        tl.store(x_ptr + id, tl.full([BLOCK], -float("inf"), tl.float32), mask=same & (id >= 0) & (id < V))


@triton.jit(do_not_specialize=["columns_ptr", "rows_ptr", "ends_ptr"])
def _steer(
    logits_ptr, lists_ptr, columns_ptr, tokens_ptr, rows_ptr, ends_ptr,
    logits_stride_s, lists_stride_r, columns_stride_r, tokens_stride_r,
    V,
    BLOCK: tl.constexpr, BLOCK_V: tl.constexpr, MOST: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(0).to(tl.int64)
    row = tl.load(rows_ptr + s).to(tl.int64)
    end = tl.load(ends_ptr + s)
    columns_ptr += tl.maximum(row, 0) * columns_stride_r
    stops, biases = tl.load(columns_ptr + 2), tl.load(columns_ptr + 3)
    allowed, banned = tl.load(columns_ptr + 4), tl.load(columns_ptr + 5)
    early = end < tl.load(columns_ptr + 1)
    if (row >= 0) & (early | (biases + allowed + banned > 0)):
        x_ptr = logits_ptr + s * logits_stride_s
        stops_ptr = lists_ptr + row * lists_stride_r
        biases_ptr = stops_ptr + stops
        allowed_ptr = biases_ptr + 2 * biases
        if allowed > 0:
            _allow_only(x_ptr, allowed_ptr, allowed, V, BLOCK_V, MOST)
            tl.debug_barrier()
        _add_biases(x_ptr, biases_ptr, biases, V, BLOCK)
        tl.debug_barrier()
        _ban(
            x_ptr, allowed_ptr + allowed, banned, tokens_ptr + row * tokens_stride_r, tl.load(columns_ptr), end, V,
            BLOCK,
        )  # fmt: skip
        if early:
            _forbid(x_ptr, stops_ptr, stops, V, BLOCK)


def steer(
    logits: torch.Tensor,
    lists: torch.Tensor,
    columns: torch.Tensor,
    tokens: torch.Tensor,
    rows: torch.Tensor,
    ends: torch.Tensor,
) -> torch.Tensor:
    """Returns logits. That the counts of a row fit its list is for the caller to see to."""
    (S, V), (R, K) = logits.shape, lists.shape
    if not rows.shape == ends.shape == (S,) or columns.shape != (R, COLUMNS) or tokens.shape[0] != R:
        raise ValueError(
            f"steer: logits {[S, V]}, lists {[R, K]}, columns {[*columns.shape]}, tokens {[*tokens.shape]}, "
            f"rows {[*rows.shape]}, ends {[*ends.shape]}"
        )
    if logits.dtype != torch.float32 or {t.dtype for t in (lists, columns, tokens, rows, ends)} != {torch.int32}:
        raise ValueError(f"steer: logits {logits.dtype} must be float32, the others int32: {lists.dtype}")
    wide = (logits, lists, columns, tokens)
    if any(t.stride(1) != 1 for t in wide) or not rows.stride(0) == ends.stride(0) == 1:
        raise ValueError("steer: rows of logits, lists, columns and tokens, rows and ends must be contiguous")
    if S and K:
        _steer[(S,)](
            logits, lists, columns, tokens, rows, ends,
            logits.stride(0), lists.stride(0), columns.stride(0), tokens.stride(0),
            V,
            BLOCK=BLOCK, BLOCK_V=BLOCK_V, MOST=MOST_ALLOWED,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return logits
