"""Logits of what a mask allows: y[c, v] = x[at[c], v] if bit v % 32 of words[c, v // 32] is set, else -inf.

    logits [S, V] fp32, stride(1) == 1     at    [C]    int32: which row of the logits each mask is for
    y      [C, V] fp32, new                words [C, W] int32, stride(1) == 1; W * 32 >= V
A program for each part of a row: the gathered row is needed apart from the others, so copy and mask are one pass.
"""

import torch
import triton
import triton.language as tl

BLOCK_V = 4096


@triton.jit(do_not_specialize=["at_ptr", "words_ptr"])
def _bitmask(
    y_ptr, x_ptr, at_ptr, words_ptr,
    x_stride_s, words_stride_c,
    V,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0).to(tl.int64)
    v = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    word = tl.load(words_ptr + c * words_stride_c + v // 32, mask=v < V, other=0)
    allowed = ((word >> (v % 32)) & 1) != 0
    s = tl.load(at_ptr + c).to(tl.int64)
    x = tl.load(x_ptr + s * x_stride_s + v, mask=allowed & (v < V), other=-float("inf"))
    tl.store(y_ptr + c * V + v, x, mask=v < V)


def bitmask(logits: torch.Tensor, at: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Returns y. That `at` lies within the rows of the logits is for the caller to see to."""
    (_, V), (C, W) = logits.shape, words.shape
    if at.shape != (C,) or W * 32 < V:
        raise ValueError(f"bitmask: logits {[*logits.shape]}, at {[*at.shape]}, words {[C, W]}")
    if logits.dtype != torch.float32 or not at.dtype == words.dtype == torch.int32:
        raise ValueError(f"bitmask: logits {logits.dtype} must be float32, at {at.dtype} and words {words.dtype} int32")
    if not logits.stride(1) == words.stride(1) == 1 or at.stride(0) != 1:
        raise ValueError("bitmask: rows of logits and words, and at, must be contiguous")
    y = logits.new_empty(C, V)
    if C and V:
        _bitmask[(C, triton.cdiv(V, BLOCK_V))](
            y, logits, at, words,
            logits.stride(0), words.stride(0),
            V,
            BLOCK_V=BLOCK_V,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return y
