"""Paged attention with one query per row: o[n, h] = sum_j softmax_j(scale * q[n, h] . k[j, h // G]) v[j, h // G].

    q        [N, heads, D]  fp16 | bf16 | fp32, stride(2) == 1      o  [N, heads * D]  same dtype, contiguous
    cache    [num_blocks, block_size, 2, kv_heads, D]  same dtype, contiguous
    tables   [R, W] int32: the block ids of every row of the device; rows [N] int32: which of them each query is of
    lengths  [N] int32: keys that each sees, its own among them; 0 for padding. With a window, the last of them
    j runs over [max(0, length - window), length)

The KV heads are one axis of a fixed grid, and `programs` the other. The keys of all rows, in tiles of TILE, form one
line that is cut into `programs` equal parts: so every program reads the same number of bytes however long the rows are,
and the grid depends on neither (Stream-K, Osama et al. 2023; persistent decode as in lightllm and LeanAttention,
Sanovar et al. 2024). Where the line crosses rows is the `offsets` of `plan_decode`, found once per step on the device.
A program writes one part for each row it meets, at index program + row: both only grow along the line, so no two share
an index and no more than programs + N are needed. `_merge` joins them by their log-sum-exp (Flash-Decoding, Dao 2023).
The query heads that share a KV head are the rows of one 16-row tile, so each key is read once.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

LOG2_E = 1.4426950408889634
PER_SM = 3  # programs side by side


class Tiling(NamedTuple):
    """How `_decode` reads. Each field is part of what is compiled, so a server has one, or two with a float32 model."""

    keys: int = 64  # read at once; `plan_decode` counts in these
    warps: int = 4
    stages: int = 5  # of the pipeline of loads


class Scratch(NamedTuple):
    """Where the parts lie between the two kernels; one will do for all layers, and its place never changes."""

    parts: torch.Tensor  # [programs + N, heads, D] fp32
    sums: torch.Tensor  # [programs + N, heads] fp32: log2 of the sum of exp2 of the scores


def decode_scratch(programs: int, rows: int, heads: int, dim: int, device: torch.device) -> Scratch:
    parts = torch.empty(programs + rows, heads, dim, dtype=torch.float32, device=device)
    return Scratch(parts, parts.new_empty(programs + rows, heads))


@triton.jit
def _first_tile(length, window, HAS_WINDOW: tl.constexpr, TILE: tl.constexpr):
    return tl.maximum(length - window, 0) // TILE if HAS_WINDOW else length * 0


@triton.jit(do_not_specialize=["offsets_ptr", "lengths_ptr", "N"])
def _offsets(
    offsets_ptr, lengths_ptr,
    N, window,
    HAS_WINDOW: tl.constexpr, TILE: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    n = tl.arange(0, BLOCK_N)
    before = tl.load(lengths_ptr) * 0
    tl.store(offsets_ptr, before)
    for first in range(0, N, BLOCK_N):
        m = first + n < N
        length = tl.load(lengths_ptr + first + n, mask=m, other=0)
        tiles = tl.cdiv(length, TILE) - _first_tile(length, window, HAS_WINDOW, TILE)  # [BLOCK_N]
        tl.store(offsets_ptr + 1 + first + n, before + tl.cumsum(tiles, axis=0), mask=m)
        before += tl.sum(tiles, axis=0)


@triton.jit(do_not_specialize=["rows_ptr", "lengths_ptr", "offsets_ptr", "N"])
def _decode(
    parts_ptr, sums_ptr, q_ptr, cache_ptr, tables_ptr, rows_ptr, lengths_ptr, offsets_ptr,
    q_stride_n, q_stride_h, tables_stride_r,
    N, KV_HEADS, window,
    scale,  # times log2(e)
    HAS_WINDOW: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr,
    TILE: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    kv_head, program = tl.program_id(0), tl.program_id(1)
    g, d, j = tl.arange(0, BLOCK_G), tl.arange(0, BLOCK_D), tl.arange(0, TILE)
    heads = KV_HEADS * GROUP
    m_q = (g < GROUP)[:, None] & (d < D)[None, :]
    stride_t = 2 * KV_HEADS * D  # from a token to the next; values lie KV_HEADS * D behind keys

    share = tl.cdiv(tl.load(offsets_ptr + N), tl.num_programs(1))
    tile = program * share
    end = tl.minimum(tile + share, tl.load(offsets_ptr + N))
    n = tile * 0  # the row that the part begins in: all rows before it have ended
    for first in range(0, N, BLOCK_N):
        i = first + tl.arange(0, BLOCK_N)
        n += tl.sum((tl.load(offsets_ptr + 1 + i, mask=i < N, other=2147483647) <= tile).to(tl.int32), axis=0)

    while tile < end:
        begin = tl.load(offsets_ptr + n)
        stop = tl.minimum(tl.load(offsets_ptr + n + 1), end)
        length = tl.load(lengths_ptr + n)
        table = tables_ptr + tl.maximum(tl.load(rows_ptr + n), 0).to(tl.int64) * tables_stride_r
        skipped = _first_tile(length, window, HAS_WINDOW, TILE) - begin
        q_at = q_ptr + n.to(tl.int64) * q_stride_n + (kv_head * GROUP + g)[:, None] * q_stride_h + d[None, :]
        q = tl.load(q_at, mask=m_q, other=0.0)  # [BLOCK_G, BLOCK_D]
        top = tl.full([BLOCK_G], -float("inf"), tl.float32)
        total = tl.zeros([BLOCK_G], tl.float32)
        acc = tl.zeros([BLOCK_G, BLOCK_D], tl.float32)
        for at in range(tile, stop):
            position = (skipped + at) * TILE + j  # [TILE]
            inside = position < length
            block = tl.load(table + position // PAGE, mask=inside, other=0).to(tl.int64)
            token = cache_ptr + (block * PAGE + position % PAGE) * stride_t + kv_head * D
            k = tl.load(token[None, :] + d[:, None], mask=inside[None, :] & (d < D)[:, None], other=0.0)
            v_at = token[:, None] + KV_HEADS * D + d[None, :]
            v = tl.load(v_at, mask=inside[:, None] & (d < D)[None, :], other=0.0)  # [TILE, BLOCK_D]
            s = tl.dot(q, k, input_precision="ieee") * scale  # [BLOCK_G, TILE]
            seen = inside & (position >= length - window) if HAS_WINDOW else inside
            s = tl.where(seen[None, :], s, -float("inf"))
            higher = tl.maximum(top, tl.max(s, axis=1))  # finite: each tile holds a key that is seen
            p = tl.exp2(s - higher[:, None])
            shrink = tl.exp2(top - higher)
            total = total * shrink + tl.sum(p, axis=1)
            acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
            top = higher
        if tile < stop:  # an empty row has no part
            index = (program + n).to(tl.int64) * heads + kv_head * GROUP + g
            tl.store(sums_ptr + index, top + tl.log2(total), mask=g < GROUP)
            tl.store(parts_ptr + index[:, None] * D + d[None, :], acc / total[:, None], mask=m_q)
        tile = stop
        n += 1


@triton.jit(do_not_specialize=["offsets_ptr", "N"])
def _merge(
    o_ptr, parts_ptr, sums_ptr, offsets_ptr,
    N, HEADS, PROGRAMS,
    D: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    n, head = tl.program_id(0), tl.program_id(1)
    p, d = tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_D)
    begin, end = tl.load(offsets_ptr + n), tl.load(offsets_ptr + n + 1)
    share = tl.maximum(tl.cdiv(tl.load(offsets_ptr + N), PROGRAMS), 1)
    last = tl.where(end > begin, (end - 1) // share, -1)
    top = tl.full([1], -float("inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    acc = tl.zeros([BLOCK_D], tl.float32)
    for first in range(begin // share, last + 1, BLOCK_P):
        m = first + p <= last
        index = (n + first + p).to(tl.int64) * HEADS + head
        s = tl.load(sums_ptr + index, mask=m, other=-float("inf"))  # [BLOCK_P]
        part = tl.load(parts_ptr + index[:, None] * D + d[None, :], mask=m[:, None] & (d < D)[None, :], other=0.0)
        higher = tl.maximum(top, tl.max(s, axis=0))
        weight, shrink = tl.exp2(s - higher), tl.exp2(top - higher)
        total = total * shrink + tl.sum(weight, axis=0)
        acc = acc * shrink + tl.sum(part * weight[:, None], axis=0)
        top = higher
    o = acc / tl.where(total > 0, total, 1.0)
    tl.store(o_ptr + (n.to(tl.int64) * HEADS + head) * D + d, o.to(o_ptr.dtype.element_ty), mask=d < D)


def choose_programs(sms: int, kv_heads: int, arch: int = 90) -> int:
    """How many for each KV head on a card of sm_<arch>: as many as run side by side, so that all end at once.

    One of `Tiling()` takes 73 KB of shared memory and 150 registers of 128 threads: of those an SM holds three since
    Hopper (228 KB, 64 Ki registers) and two before (164 KB). A fourth would wait for one of the others to end. Fewer
    would do for the memory: an H200 needs 4.8 TB/s * 0.7 us = 25 KB on the way to each SM, and every program has a tile
    of 64 keys and values, 32 KB, on the way while it computes with another; the third is there for when the others wait
    for each other's sums. `bench --tune` tells what a card makes of that.
    """
    return max(1, (PER_SM if arch >= 90 else 2) * sms // kv_heads)


def choose_tiling(element_size: int) -> Tiling:
    return Tiling() if element_size == 2 else Tiling(stages=3)


def plan_decode(
    lengths: torch.Tensor, window: int | None = None, *, keys: int = Tiling().keys, out: torch.Tensor | None = None
) -> torch.Tensor:
    """[N + 1] int32: how many tiles of `keys` lie before each row. Once per step and window, for all layers."""
    N = lengths.shape[0]
    offsets = lengths.new_empty(N + 1) if out is None else out
    if not N or lengths.dtype != torch.int32 or offsets.dtype != torch.int32 or offsets.shape != (N + 1,):
        raise ValueError(f"plan_decode: lengths {lengths.dtype}{[N]}, out {offsets.dtype}{[*offsets.shape]}")
    if not lengths.stride(0) == offsets.stride(0) == 1:
        raise ValueError("plan_decode: lengths and out must be contiguous")
    _check_window(window)
    _offsets[(1,)](
        offsets, lengths,
        N, window or 0,
        HAS_WINDOW=window is not None, TILE=keys, BLOCK_N=256,
        num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return offsets


def decode_attention(
    q: torch.Tensor,
    cache: torch.Tensor,
    tables: torch.Tensor,
    rows: torch.Tensor,
    lengths: torch.Tensor,
    offsets: torch.Tensor,
    scale: float,
    scratch: Scratch,
    *,
    programs: int,
    window: int | None = None,
    tiling: Tiling | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns o; what has the length 0 becomes 0, and its row may be below 0.

    `programs` is for each KV head; it and `tiling` are what the functions above choose. `offsets` are of the same
    window and tiling. The scratch may be larger than needed.
    """
    N, heads, D = q.shape
    o = q.new_empty(N, heads * D) if out is None else out
    _, page, two, kv_heads, cache_dim = cache.shape
    if two != 2 or cache_dim != D or heads % kv_heads or o.shape != (N, heads * D) or heads // kv_heads > 128:
        raise ValueError(f"decode_attention: q {[*q.shape]}, cache {[*cache.shape]}, out {[*o.shape]}")
    if not (rows.shape == lengths.shape == (N,) and offsets.shape == (N + 1,) and tables.dim() == 2):
        raise ValueError(
            f"decode_attention: rows {[*rows.shape]}, lengths {[*lengths.shape]}, offsets {[*offsets.shape]} for {N}"
        )
    if not q.dtype == cache.dtype == o.dtype or {t.dtype for t in (tables, rows, lengths, offsets)} != {torch.int32}:
        raise ValueError(f"decode_attention: q {q.dtype}, cache {cache.dtype}, out {o.dtype}; or not int32")
    if q.stride(2) != 1 or tables.stride(1) != 1 or not (cache.is_contiguous() and o.is_contiguous()):
        raise ValueError("decode_attention: heads of q, rows of tables, cache and out must be contiguous")
    if programs < 1 or scratch.parts.shape[0] < programs + N or scratch.parts.shape[1:] != (heads, D):
        raise ValueError(f"decode_attention: {programs} programs, {N} rows, scratch {[*scratch.parts.shape]}")
    _check_window(window)
    if N:
        tile, warps, stages = tiling or choose_tiling(q.element_size())
        group = heads // kv_heads
        block_d = max(16, triton.next_power_of_2(D))
        _decode[(kv_heads, programs)](
            *scratch, q, cache, tables, rows, lengths, offsets,
            q.stride(0), q.stride(1), tables.stride(0),
            N, kv_heads, window or 0,
            scale * LOG2_E,
            HAS_WINDOW=window is not None, GROUP=group, D=D, PAGE=page,
            TILE=tile, BLOCK_G=max(16, triton.next_power_of_2(group)), BLOCK_D=block_d, BLOCK_N=256,
            num_warps=warps, num_stages=stages, enable_fp_fusion=True,
        )  # fmt: skip
        _merge[(N, heads)](
            o, *scratch, offsets,
            N, heads, programs,
            D=D, BLOCK_P=8, BLOCK_D=block_d,
            num_warps=1, enable_fp_fusion=True,
        )  # fmt: skip
    return o


def _check_window(window: int | None) -> None:
    if window is not None and window < 1:
        raise ValueError(f"decode attention: window {window} must be positive")
