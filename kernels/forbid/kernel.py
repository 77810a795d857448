"""No stop id below min_tokens: x[s, v] = -inf for each v in stops[r], of r = rows[s], while ends[s] < free_from[r].

    logits [S, V]  fp32, stride(1) == 1; changed in place     rows  [S] int32: which row of the others each is of
    stops  [R, K]  int32, stride(1) == 1; below 0 for none    ends  [S] int32: the position of the drawn token
    free_from [R]  int32: the position from which on all ids may be drawn
One program for a row, which leaves at once where nothing is forbidden. A row below 0 is padding.
"""

import torch
import triton
import triton.language as tl

BLOCK_K = 128


@triton.jit(do_not_specialize=["free_from_ptr", "rows_ptr", "ends_ptr"])
def _forbid(
    logits_ptr, stops_ptr, free_from_ptr, rows_ptr, ends_ptr,
    logits_stride_s, stops_stride_r, free_from_stride_r,
    V, K,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(0).to(tl.int64)
    row = tl.load(rows_ptr + s).to(tl.int64)
    free_from = tl.load(free_from_ptr + tl.maximum(row, 0) * free_from_stride_r)
    if (row >= 0) & (tl.load(ends_ptr + s) < free_from):
        for first in range(0, K, BLOCK_K):
            k = first + tl.arange(0, BLOCK_K)
            id = tl.load(stops_ptr + row * stops_stride_r + k, mask=k < K, other=-1)
            tl.store(logits_ptr + s * logits_stride_s + id, -float("inf"), mask=(id >= 0) & (id < V))


def forbid(
    logits: torch.Tensor, stops: torch.Tensor, free_from: torch.Tensor, rows: torch.Tensor, ends: torch.Tensor
) -> torch.Tensor:
    """Returns logits."""
    (S, V), (R, K) = logits.shape, stops.shape
    if not rows.shape == ends.shape == (S,) or free_from.shape != (R,):
        raise ValueError(
            f"forbid: logits {[S, V]}, stops {[R, K]}, free_from {[*free_from.shape]}, "
            f"rows {[*rows.shape]}, ends {[*ends.shape]}"
        )
    if logits.dtype != torch.float32 or {t.dtype for t in (stops, free_from, rows, ends)} != {torch.int32}:
        raise ValueError(f"forbid: logits {logits.dtype} must be float32, the others int32: {stops.dtype}")
    if not logits.stride(1) == stops.stride(1) == 1 or not rows.stride(0) == ends.stride(0) == 1:
        raise ValueError("forbid: rows of logits and stops, rows and ends must be contiguous")
    if S and K:
        _forbid[(S,)](
            logits, stops, free_from, rows, ends,
            logits.stride(0), stops.stride(0), free_from.stride(0),
            V, K,
            BLOCK_K=BLOCK_K,
            num_warps=1, enable_fp_fusion=True,
        )  # fmt: skip
    return logits
