"""RMS norm, of a sum if wanted: r[t] = x[t] + r[t];  y[t, h] = r[t, h] / sqrt(mean_h(r[t]^2) + eps) * w[h].

    x  [T, H]  fp16 | bf16 | fp32, stride(1) == 1     r  like x, changed in place; without it r is x
    w  [H]     same dtype                             y  like x
One program per token; H is padded to a power of two and stays in registers; the sums are fp32, and what is normed is r
as it is stored, so that both agree.
"""

import torch
import triton
import triton.language as tl

MAX_HIDDEN = 65536


@triton.jit
def _rms_norm(
    y_ptr, r_ptr, x_ptr, w_ptr,
    y_stride_t, r_stride_t, x_stride_t,
    H,
    eps,
    HAS_RESIDUAL: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    t = tl.program_id(0).to(tl.int64)  # int64: T * H may exceed 2**31
    h = tl.arange(0, BLOCK_H)
    m = h < H
    x = tl.load(x_ptr + t * x_stride_t + h, mask=m, other=0.0).to(tl.float32)  # [BLOCK_H]
    if HAS_RESIDUAL:
        r = (x + tl.load(r_ptr + t * r_stride_t + h, mask=m, other=0.0).to(tl.float32)).to(r_ptr.dtype.element_ty)
        tl.store(r_ptr + t * r_stride_t + h, r, mask=m)
        x = r.to(tl.float32)
    w = tl.load(w_ptr + h, mask=m, other=0.0).to(tl.float32)  # [BLOCK_H]
    rstd = tl.rsqrt(tl.sum(x * x, axis=0) / H + eps)
    tl.store(y_ptr + t * y_stride_t + h, (x * rstd * w).to(y_ptr.dtype.element_ty), mask=m)


def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    *,
    residual: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns y; `residual` becomes x + residual. `out` may be x."""
    T, H = x.shape
    y = torch.empty_like(x) if out is None else out
    r = x if residual is None else residual
    if H > MAX_HIDDEN or weight.shape != (H,) or not x.shape == y.shape == r.shape:
        raise ValueError(f"rms_norm: x {[*x.shape]}, residual {[*r.shape]}, weight {[*weight.shape]}, out {[*y.shape]}")
    if not weight.dtype == x.dtype == y.dtype == r.dtype:
        raise ValueError(f"rms_norm: x {x.dtype}, residual {r.dtype}, weight {weight.dtype}, out {y.dtype}")
    if not x.stride(1) == y.stride(1) == r.stride(1) == weight.stride(0) == 1:
        raise ValueError(f"rms_norm: the last dimension must be contiguous: x {x.stride()}, out {y.stride()}")
    if T:
        block = triton.next_power_of_2(H)
        _rms_norm[(T,)](
            y, r, x, weight,
            y.stride(0), r.stride(0), x.stride(0),
            H,
            eps,
            HAS_RESIDUAL=residual is not None, BLOCK_H=block,
            num_warps=max(1, min(16, block // 512)), enable_fp_fusion=True,
        )  # fmt: skip
    return y
