"""The gate of a feed-forward: y[t, i] = silu(x[t, i]) * x[t, I + i], with silu(g) = g / (1 + exp(-g)).

    x  [T, 2 * I]  fp16 | bf16 | fp32, stride(1) == 1     y  [T, I]  same dtype
One program for each token and BLOCK_I of its elements: narrow tiles, as a step that decodes has few tokens.
"""

import torch
import triton
import triton.language as tl

BLOCK_I = 1024


@triton.jit
def _silu_mul(
    y_ptr, x_ptr,
    y_stride_t, x_stride_t,
    INNER,
    BLOCK_I: tl.constexpr,
):  # fmt: skip
    t = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK_I + tl.arange(0, BLOCK_I)
    m = i < INNER
    g = tl.load(x_ptr + t * x_stride_t + i, mask=m, other=0.0).to(tl.float32)  # [BLOCK_I]
    u = tl.load(x_ptr + t * x_stride_t + INNER + i, mask=m, other=0.0).to(tl.float32)  # [BLOCK_I]
    y = g / (1.0 + tl.exp(-g)) * u
    tl.store(y_ptr + t * y_stride_t + i, y.to(y_ptr.dtype.element_ty), mask=m)


def silu_mul(x: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
    T, inner = x.shape[0], x.shape[1] // 2
    y = x.new_empty(T, inner) if out is None else out
    if x.shape[1] % 2 or y.shape != (T, inner) or y.dtype != x.dtype:
        raise ValueError(f"silu_mul: x {x.dtype}{[*x.shape]}, out {y.dtype}{[*y.shape]}")
    if not x.stride(1) == y.stride(1) == 1:
        raise ValueError(f"silu_mul: the last dimension must be contiguous: x {x.stride()}, out {y.stride()}")
    if T and inner:
        _silu_mul[(T, triton.cdiv(inner, BLOCK_I))](
            y, x,
            y.stride(0), x.stride(0),
            inner,
            BLOCK_I=BLOCK_I,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return y
