"""What lies between the projection and attention: q and k are normed (Qwen3) and turned, k and v go to the cache.

    z = x / sqrt(mean_d(x^2) + eps) * w, or z = x without weight
    y[d] = z[d] * cos[p, d] + z[(d + D/2) mod D] * sin[p, d], where sin carries the sign (`rope_table`)

    qkv        [T, (heads + 2 * kv_heads) * D]  fp16 | bf16 | fp32; the queries are turned in place, the rest is read
    cache      [num_blocks, block_size, 2, kv_heads, D]  same dtype, all of a token contiguous
    table      [P, 2, D]  cos and signed sin        weight     [heads + kv_heads, D], or None
    positions  [T] int32                            slots      [T] int64: places in the cache; below 0 for no place
One program for a token and a KV head: the GROUP query heads that share it, its key and its value are rows of one tile.
"""

import torch
import triton
import triton.language as tl


@triton.jit(do_not_specialize=["positions_ptr", "slots_ptr"])
def _qk_rope_write(
    qkv_ptr, cache_ptr, weight_ptr, table_ptr, positions_ptr, slots_ptr,
    qkv_stride_t, table_stride_p,
    KV_HEADS,
    eps,
    HAS_NORM: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    t, kv_head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    position = tl.load(positions_ptr + t).to(tl.int64)
    slot = tl.load(slots_ptr + t)
    g = tl.arange(0, BLOCK_G)[:, None]  # GROUP queries, a key, a value, padding
    d = tl.arange(0, BLOCK_D)[None, :]
    other = tl.where(d < D // 2, d + D // 2, d - D // 2)  # the other of each pair
    m = (g < GROUP + 2) & (d < D)
    heads = KV_HEADS * GROUP
    head = tl.where(g < GROUP, kv_head * GROUP + g, heads + (g - GROUP) * KV_HEADS + kv_head)  # [BLOCK_G, 1]

    x = tl.load(qkv_ptr + t * qkv_stride_t + head * D + d, mask=m, other=0.0)  # [BLOCK_G, BLOCK_D]
    turns = m & (g <= GROUP)
    z = x.to(tl.float32)
    z_other = tl.load(qkv_ptr + t * qkv_stride_t + head * D + other, mask=turns, other=0.0).to(tl.float32)
    if HAS_NORM:
        rstd = tl.rsqrt(tl.sum(z * z, axis=1) / D + eps)[:, None]
        w = tl.load(weight_ptr + head * D + d, mask=turns, other=0.0).to(tl.float32)
        w_other = tl.load(weight_ptr + head * D + other, mask=turns, other=0.0).to(tl.float32)
        z, z_other = z * rstd * w, z_other * rstd * w_other
    row = table_ptr + position * table_stride_p + d
    cos = tl.load(row, mask=d < D, other=0.0).to(tl.float32)  # [1, BLOCK_D]
    sin = tl.load(row + D, mask=d < D, other=0.0).to(tl.float32)
    y = tl.where(g <= GROUP, z * cos + z_other * sin, x.to(tl.float32)).to(x.dtype)

    # All of a token lies together in the cache: keys of every head, then values.
    kept = slot * (2 * KV_HEADS * D) + ((g - GROUP) * KV_HEADS + kv_head) * D + d
    first_kept = tl.where(slot >= 0, GROUP, BLOCK_G)
    tl.debug_barrier()  # pairs are read across threads before they are overwritten
    tl.store(qkv_ptr + t * qkv_stride_t + head * D + d, y, mask=m & (g < GROUP))
    tl.store(cache_ptr + kept, y, mask=m & (g >= first_kept))


def qk_rope_write(
    qkv: torch.Tensor,
    cache: torch.Tensor,
    table: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    weight: torch.Tensor | None = None,
    eps: float = 0.0,
) -> torch.Tensor:
    """Returns the queries, a view [T, heads, D] into qkv."""
    T, (kv_heads, D) = qkv.shape[0], cache.shape[-2:]
    total = qkv.shape[1] // D
    heads = total - 2 * kv_heads
    if cache.dim() != 5 or cache.shape[2] != 2 or heads <= 0 or heads % kv_heads or qkv.shape[1] % D or D % 2:
        raise ValueError(f"qk_rope_write: qkv {[*qkv.shape]}, cache {[*cache.shape]}")
    if table.shape[1:] != (2, D) or positions.shape != (T,) or slots.shape != (T,):
        raise ValueError(
            f"qk_rope_write: table {[*table.shape]}, positions {[*positions.shape]}, slots {[*slots.shape]}, {T} x {D}"
        )
    if weight is not None and (weight.shape != (heads + kv_heads, D) or not weight.is_contiguous()):
        raise ValueError(f"qk_rope_write: weight {[*weight.shape]}, want {[heads + kv_heads, D]}, contiguous")
    if not (qkv.dtype == cache.dtype and positions.dtype == torch.int32 and slots.dtype == torch.int64):
        raise ValueError(f"qk_rope_write: {qkv.dtype}, {cache.dtype}, {positions.dtype}, {slots.dtype}")
    if qkv.stride(1) != 1 or not cache.is_contiguous() or table.stride()[1:] != (D, 1):
        raise ValueError("qk_rope_write: tokens of qkv, the cache and the table's rows must be contiguous")
    if T:
        group = heads // kv_heads
        _qk_rope_write[(T, kv_heads)](
            qkv, cache, qkv if weight is None else weight, table, positions, slots,
            qkv.stride(0), table.stride(0),
            kv_heads,
            eps,
            HAS_NORM=weight is not None, GROUP=group, D=D,
            BLOCK_G=triton.next_power_of_2(group + 2), BLOCK_D=triton.next_power_of_2(D),
            num_warps=1 if group <= 2 else 2, enable_fp_fusion=True,
        )  # fmt: skip
    queries: torch.Tensor = qkv[:, : heads * D].view(T, heads, D)
    return queries
