"""Paged attention of any number of queries per row: o[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h//G]) v[j, h//G].

    q       [T, heads, D]  fp16 | bf16 | fp32, stride(2) == 1      o  [T, heads * D]  same dtype, contiguous
    cache   [num_blocks, block_size, 2, kv_heads, D]  same dtype, contiguous; holds the queries' own keys already
    tables  [R, W] int32: the block ids of every row of the device; rows [N] int32: which of them each sequence is
    firsts  [N + 1] int32: where the queries of each sequence begin in q, then where the last ends
    starts  [N] int32: the position of the first of them
    j runs over the positions up to the query's own and, with a window, the last `window` of them

One program for a KV head and BLOCK_Q = BLOCK_M // G tokens: the G query heads that share the KV head stand below each
other in a tile of BLOCK_M rows, so each key is read once for all. The softmax is online (FlashAttention-2, Dao 2023).
The grid needs no length: sequence n has the tiles from firsts[n] // BLOCK_Q + n on, which leaves room for the last,
shorter one of each (vLLM's unified kernel). Tiles with much to read come first, which is to say those of late tokens.
Tokens before firsts[0] and behind firsts[N] are somebody else's: those that decode come first in a mixed step, and what
decode_attention wrote of them into the same o stays.
"""

import torch
import triton
import triton.language as tl

LOG2_E = 1.4426950408889634


@triton.jit
def _attend(
    acc, total, top, q, cache_ptr, table, query_at, first_key, last_key, end, kv_head, KV_HEADS, window, scale,
    MASKED: tl.constexpr, HAS_WINDOW: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr,
    TILE: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Take in the tiles of keys from first_key to last_key; those not MASKED are seen by every query."""
    d, j = tl.arange(0, BLOCK_D), tl.arange(0, TILE)
    stride_t = 2 * KV_HEADS * D
    for at in range(first_key, last_key, TILE):
        position = at + j  # [TILE]
        inside = position < end
        block = tl.load(table + position // PAGE, mask=inside, other=0).to(tl.int64)
        token = cache_ptr + (block * PAGE + position % PAGE) * stride_t + kv_head * D
        k = tl.load(token[None, :] + d[:, None], mask=inside[None, :] & (d < D)[:, None], other=0.0)
        v_at = token[:, None] + KV_HEADS * D + d[None, :]
        v = tl.load(v_at, mask=inside[:, None] & (d < D)[None, :], other=0.0)  # [TILE, BLOCK_D]
        s = tl.dot(q, k, input_precision="ieee") * scale  # [BLOCK_M, TILE]
        if MASKED:
            seen = position[None, :] <= query_at[:, None]
            if HAS_WINDOW:
                seen = seen & (position[None, :] > query_at[:, None] - window)
            s = tl.where(seen, s, -float("inf"))
        higher = tl.maximum(top, tl.max(s, axis=1))
        base = tl.where(higher == -float("inf"), 0.0, higher) if HAS_WINDOW else higher  # a query may see no key yet
        p = tl.exp2(s - base[:, None])
        shrink = tl.exp2(top - base)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher
    return acc, total, top


@triton.jit(do_not_specialize=["rows_ptr", "firsts_ptr", "starts_ptr", "N"])
def _prefill(
    o_ptr, q_ptr, cache_ptr, tables_ptr, rows_ptr, firsts_ptr, starts_ptr,
    q_stride_t, q_stride_h, tables_stride_r,
    N, KV_HEADS, window,
    scale,  # times log2(e)
    HAS_WINDOW: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr,
    TILE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    BLOCK_Q: tl.constexpr = BLOCK_M // GROUP
    kv_head = tl.program_id(0)
    tile = tl.num_programs(1) - 1 - tl.program_id(1)
    n = tile * 0
    for first in range(1, N, BLOCK_N):
        i = first + tl.arange(0, BLOCK_N)
        tiles = tl.load(firsts_ptr + i, mask=i < N, other=0) // BLOCK_Q + i  # that lie before sequence i
        n += tl.sum(((i < N) & (tiles <= tile)).to(tl.int32), axis=0)
    begin = tl.load(firsts_ptr + n)
    count = tl.load(firsts_ptr + n + 1) - begin
    skip = (tile - begin // BLOCK_Q - n) * BLOCK_Q  # queries of the sequence before this tile
    if (skip < 0) | (skip >= count):
        return

    m, d = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    query = skip + m // GROUP  # [BLOCK_M]
    m_q = ((query < count) & (m < BLOCK_Q * GROUP))[:, None] & (d < D)[None, :]
    head = (kv_head * GROUP + m % GROUP)[:, None]
    token = (begin + query).to(tl.int64)[:, None]
    q = tl.load(q_ptr + token * q_stride_t + head * q_stride_h + d[None, :], mask=m_q, other=0.0)

    start = tl.load(starts_ptr + n)
    end = start + tl.minimum(skip + BLOCK_Q, count)  # behind the last key that any of them sees
    query_at = start + query
    table = tables_ptr + tl.maximum(tl.load(rows_ptr + n), 0).to(tl.int64) * tables_stride_r
    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    top = tl.full([BLOCK_M], -float("inf"), tl.float32)
    if HAS_WINDOW:
        whole = tl.maximum(start + skip - window + 1, 0) // TILE * TILE  # what lies before is seen by none
    else:
        whole = (start + skip + 1) // TILE * TILE  # what lies before is seen by all
        acc, total, top = _attend(
            acc, total, top, q, cache_ptr, table, query_at, 0, whole, end, kv_head, KV_HEADS, window, scale,
            False, HAS_WINDOW, D, PAGE, TILE, BLOCK_D,
        )  # fmt: skip
    acc, total, top = _attend(
        acc, total, top, q, cache_ptr, table, query_at, whole, end, end, kv_head, KV_HEADS, window, scale,
        True, HAS_WINDOW, D, PAGE, TILE, BLOCK_D,
    )  # fmt: skip
    o = acc / tl.where(total > 0, total, 1.0)[:, None]  # 0 in the padding
    tl.store(o_ptr + (token * KV_HEADS * GROUP + head) * D + d[None, :], o.to(o_ptr.dtype.element_ty), mask=m_q)


def choose_tile(arch: int, queries: int) -> tuple[int, int]:
    """(rows, keys) of a tile on sm_<arch>, where most sequences bring about this many queries times GROUP."""
    return 128 if queries > 64 else 64, 64 if arch >= 90 else 32  # before Hopper 64 keys do not fit into registers


def prefill_attention(
    q: torch.Tensor,
    cache: torch.Tensor,
    tables: torch.Tensor,
    rows: torch.Tensor,
    firsts: torch.Tensor,
    starts: torch.Tensor,
    scale: float,
    *,
    window: int | None = None,
    tile: tuple[int, int] = (128, 64),
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns o. `tile` is what `choose_tile` says; float32, multiplied without tensor cores, has one of its own."""
    T, heads, D = q.shape
    N = rows.shape[0]
    o = q.new_empty(T, heads * D) if out is None else out
    _, page, two, kv_heads, cache_dim = cache.shape
    block_m, keys = tile if q.element_size() == 2 else (32, 16)
    if two != 2 or cache_dim != D or heads % kv_heads or o.shape != (T, heads * D) or heads // kv_heads > block_m:
        raise ValueError(f"prefill_attention: q {[*q.shape]}, cache {[*cache.shape]}, out {[*o.shape]}")
    if starts.shape != (N,) or firsts.shape != (N + 1,) or tables.dim() != 2:
        raise ValueError(f"prefill_attention: rows {[N]}, starts {[*starts.shape]}, firsts {[*firsts.shape]}")
    if not q.dtype == cache.dtype == o.dtype or {t.dtype for t in (tables, rows, firsts, starts)} != {torch.int32}:
        raise ValueError(f"prefill_attention: q {q.dtype}, cache {cache.dtype}, out {o.dtype}; or not int32")
    if q.stride(2) != 1 or tables.stride(1) != 1 or not (cache.is_contiguous() and o.is_contiguous()):
        raise ValueError("prefill_attention: heads of q, rows of tables, cache and out must be contiguous")
    if tile[0] not in (64, 128) or tile[1] not in (32, 64) or (window is not None and window < 1):
        raise ValueError(f"prefill_attention: tile {tile} must be (64 or 128, 32 or 64), window {window} positive")
    if T:
        group = heads // kv_heads
        # What a window and what float32 need beside has no room in registers for a second tile of keys on its way.
        stages = 5 if q.element_size() == 2 and window is None else 3
        _prefill[(kv_heads, T // (block_m // group) + N)](
            o, q, cache, tables, rows, firsts, starts,
            q.stride(0), q.stride(1), tables.stride(0),
            N, kv_heads, window or 0,
            scale * LOG2_E,
            HAS_WINDOW=window is not None, GROUP=group, D=D, PAGE=page,
            TILE=keys, BLOCK_M=block_m, BLOCK_D=max(16, triton.next_power_of_2(D)), BLOCK_N=256,
            num_warps=max(block_m // 16, 2 * q.element_size()), num_stages=stages, enable_fp_fusion=True,
        )  # fmt: skip
    return o
