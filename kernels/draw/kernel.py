"""Draw a token: argmax_v x[v] + gumbel(seed, position, v), where x = logits / temperature, cut by top-k, top-p, min-p.

    logits   [S, V]  fp32, stride(1) == 1; only read       drawn  [S] int32
    rows     [S] int32: which row of `knobs` each is of     ends   [S] int32: the position of the drawn token
    knobs    [R, 6] int32, stride(1) == 1: seed's low half, its high half, top-k, then as bits of float32 temperature,
             top-p, min-p. Off are: temperature < 1e-5 (greedy), top-k < 1 or >= V, top-p >= 1, min-p 0
    tokens   [R, L] int32, stride(1) == 1, if given: takes drawn[s] at [rows[s], ends[s]]; a row below 0 is padding

A threshold needs no sorted row. v is kept by top-k if fewer than k logits are greater, and by top-p if the greater ones
hold less than the share p: both fall as v grows, so the least that is kept lies where such a function crosses a target.
`_bounds` closes in on it with PIVOTS between the two ends of a bracket at once, a pass over the row each (pivot search
as in Qrita, arXiv 2602.01518; here exact, down to two neighbouring float32). Ties with the last one kept are kept.
Rows that need no threshold leave at once, so no row pays for another. `_draw` has SPLITS programs for a row, each of
which leaves its best; `_best` joins them. The grids depend on S and V alone.
"""

import torch
import triton
import triton.language as tl

from kernels._math import log
from kernels.draw.noise import gumbel, row_key

BLOCK_V, SPLIT, PIVOTS = 2048, 8192, 8
KNOBS = 6


@triton.jit
def _knob(knobs_ptr, row, stride, column: tl.constexpr):
    bits = tl.load(knobs_ptr + row.to(tl.int64) * stride + column)
    return bits if column < 3 else bits.to(tl.float32, bitcast=True)


@triton.jit
def _scaled(x_ptr, v, V, temperature):
    """Exact division, or the draw would differ from the plain one where rounding makes ties."""
    return tl.math.div_rn(tl.load(x_ptr + v, mask=v < V, other=-float("inf")), temperature)


@triton.jit
def _close_in(
    x_ptr, V, temperature, top, low, high, target,
    BY_SHARE: tl.constexpr, BLOCK_V: tl.constexpr, PIVOTS: tl.constexpr,
):  # fmt: skip
    """The largest bound with at least `target` above it: that many logits, or that sum of exp(x - top).

    At least `target` lies above `low`, and less above `high`. Each pass leaves one of PIVOTS + 1 parts of the bracket.
    """
    i = tl.arange(0, PIVOTS).to(tl.float32) + 1.0
    searching = low < high
    while searching:
        pivot = tl.minimum(low + (high - low) * (i / (PIVOTS + 1.0)), high)  # [PIVOTS]
        above = tl.zeros([BLOCK_V, PIVOTS], tl.float32)
        for first in range(0, V, BLOCK_V):
            x = _scaled(x_ptr, first + tl.arange(0, BLOCK_V), V, temperature)
            weight = tl.exp(x - top) if BY_SHARE else tl.where(x > -float("inf"), 1.0, 0.0)
            above += tl.where(x[:, None] > pivot[None, :], weight[:, None], 0.0)
        share = tl.sum(above, axis=0)  # [PIVOTS]
        closer = tl.max(tl.where(share >= target, pivot, low), axis=0)
        nearer = tl.min(tl.where(share < target, pivot, high), axis=0)
        exact = tl.max(tl.where(share == target, 1, 0), axis=0) > 0
        middle = closer + (nearer - closer) * 0.5
        moved = (closer > low) | (nearer < high)
        searching = moved & (middle > closer) & (middle < nearer)
        if not BY_SHARE:
            searching = searching & (exact == 0)
        low, high = closer, nearer
    return low


@triton.jit(do_not_specialize=["rows_ptr"])
def _bounds(
    bounds_ptr, x_ptr, knobs_ptr, rows_ptr,
    x_stride_s, knobs_stride_r,
    V,
    BLOCK_V: tl.constexpr, PIVOTS: tl.constexpr,
):  # fmt: skip
    """bounds[s] = (over, least): kept is x > over and x >= least."""
    s = tl.program_id(0)
    given = tl.load(rows_ptr + s)
    row = tl.maximum(given, 0)
    top_k = _knob(knobs_ptr, row, knobs_stride_r, 2)
    temperature = _knob(knobs_ptr, row, knobs_stride_r, 3)
    top_p = _knob(knobs_ptr, row, knobs_stride_r, 4)
    min_p = _knob(knobs_ptr, row, knobs_stride_r, 5)
    limited = (top_k > 0) & (top_k < V)
    over = tl.full([], -float("inf"), tl.float32)
    least = tl.full([], -float("inf"), tl.float32)
    if (given >= 0) & (temperature >= 1e-5) & (limited | (top_p < 1.0) | (min_p > 0.0)):
        x_ptr += s.to(tl.int64) * x_stride_s
        v = tl.arange(0, BLOCK_V)
        most = tl.full([BLOCK_V], -float("inf"), tl.float32)
        fewest = tl.full([BLOCK_V], float("inf"), tl.float32)
        finite = tl.zeros([BLOCK_V], tl.int32)
        for first in range(0, V, BLOCK_V):
            x = _scaled(x_ptr, first + v, V, temperature)
            most = tl.maximum(most, x)
            fewest = tl.minimum(fewest, tl.where(x > -float("inf"), x, float("inf")))
            finite += (x > -float("inf")).to(tl.int32)
        top = tl.max(most, axis=0)
        bottom = tl.min(fewest, axis=0)
        below = bottom - tl.maximum(tl.abs(bottom) * 1e-6, 1e-6)  # everything finite lies above it
        if limited & (top_k < tl.sum(finite, axis=0)):
            over = _close_in(x_ptr, V, temperature, top, below, top, top_k.to(tl.float32), False, BLOCK_V, PIVOTS)
        if top_p < 1.0:
            sums = tl.zeros([BLOCK_V], tl.float32)
            for first in range(0, V, BLOCK_V):
                x = _scaled(x_ptr, first + v, V, temperature)
                sums += tl.where(x > over, tl.exp(x - top), 0.0)
            target = tl.maximum(top_p * tl.sum(sums, axis=0), 1e-30)  # the best one is always kept
            low = tl.maximum(over, tl.maximum(below, top - 40.0))  # exp(-40) of a share is lost in float32
            over = _close_in(x_ptr, V, temperature, top, low, top, target, True, BLOCK_V, PIVOTS)
        if min_p > 0.0:
            least = top + log(min_p)
    tl.store(bounds_ptr + 2 * s, over)
    tl.store(bounds_ptr + 2 * s + 1, least)


@triton.jit(do_not_specialize=["rows_ptr", "ends_ptr"])
def _draw(
    best_ptr, at_ptr, x_ptr, bounds_ptr, knobs_ptr, rows_ptr, ends_ptr,
    x_stride_s, knobs_stride_r,
    V,
    SPLIT: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    s, split = tl.program_id(0), tl.program_id(1)
    row = tl.maximum(tl.load(rows_ptr + s), 0)
    temperature = _knob(knobs_ptr, row, knobs_stride_r, 3)
    greedy = temperature < 1e-5
    temperature = tl.where(greedy, 1.0, temperature)
    low, high = _knob(knobs_ptr, row, knobs_stride_r, 0), _knob(knobs_ptr, row, knobs_stride_r, 1)
    key = row_key(low, high, tl.load(ends_ptr + s))
    over, least = tl.load(bounds_ptr + 2 * s), tl.load(bounds_ptr + 2 * s + 1)
    x_ptr += s.to(tl.int64) * x_stride_s
    best = tl.full([BLOCK_V], -float("inf"), tl.float32)
    at = split * SPLIT + tl.arange(0, BLOCK_V)
    for first in range(split * SPLIT, tl.minimum(split * SPLIT + SPLIT, V), BLOCK_V):
        v = first + tl.arange(0, BLOCK_V)
        x = _scaled(x_ptr, v, V, temperature)
        x = tl.where((x > over) & (x >= least), x, -float("inf"))
        if not greedy:
            x += gumbel(key, v)
        at = tl.where(x > best, v, at)
        best = tl.maximum(best, x)
    top = tl.max(best, axis=0)
    index = s * tl.num_programs(1) + split
    tl.store(best_ptr + index, top)
    tl.store(at_ptr + index, tl.min(tl.where(best == top, at, 2147483647), axis=0))  # the first of several


@triton.jit(do_not_specialize=["drawn_ptr", "rows_ptr", "ends_ptr"])
def _best(
    drawn_ptr, tokens_ptr, best_ptr, at_ptr, rows_ptr, ends_ptr,
    tokens_stride_r,
    SPLITS,
    HAS_TOKENS: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(0)
    i = tl.arange(0, BLOCK_S)
    best = tl.load(best_ptr + s * SPLITS + i, mask=i < SPLITS, other=-float("inf"))
    at = tl.load(at_ptr + s * SPLITS + i, mask=i < SPLITS, other=2147483647)
    drawn = tl.min(tl.where(best == tl.max(best, axis=0), at, 2147483647), axis=0)
    tl.store(drawn_ptr + s, drawn)
    row = tl.load(rows_ptr + s).to(tl.int64)
    if HAS_TOKENS and row >= 0:
        tl.store(tokens_ptr + row * tokens_stride_r + tl.load(ends_ptr + s), drawn)


def draw(
    logits: torch.Tensor,
    knobs: torch.Tensor,
    rows: torch.Tensor,
    ends: torch.Tensor,
    *,
    tokens: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the drawn ids. Penalties and masks, if any, are in `logits` already."""
    S, V = logits.shape
    drawn = rows.new_empty(S) if out is None else out
    if knobs.dim() != 2 or knobs.shape[1] != KNOBS or not rows.shape == ends.shape == drawn.shape == (S,) or not V:
        raise ValueError(
            f"draw: logits {[*logits.shape]}, knobs {[*knobs.shape]}, rows {[*rows.shape]}, ends {[*ends.shape]}"
        )
    if logits.dtype != torch.float32 or {t.dtype for t in (knobs, rows, ends, drawn)} != {torch.int32}:
        raise ValueError(f"draw: logits {logits.dtype} must be float32, the others int32: {knobs.dtype}, {rows.dtype}")
    if tokens is not None and (tokens.dtype != torch.int32 or tokens.shape[0] != len(knobs) or tokens.stride(1) != 1):
        raise ValueError(f"draw: tokens {tokens.dtype}{[*tokens.shape]}, knobs {[*knobs.shape]}")
    if not logits.stride(1) == knobs.stride(1) == 1:
        raise ValueError(f"draw: rows must be contiguous: logits {logits.stride()}, knobs {knobs.stride()}")
    if S:
        splits = triton.cdiv(V, SPLIT)
        bounds, best, at = logits.new_empty(S, 2), logits.new_empty(S, splits), rows.new_empty(S, splits)
        _bounds[(S,)](
            bounds, logits, knobs, rows,
            logits.stride(0), knobs.stride(0),
            V,
            BLOCK_V=BLOCK_V, PIVOTS=PIVOTS,
            num_warps=16, enable_fp_fusion=True,
        )  # fmt: skip
        _draw[(S, splits)](
            best, at, logits, bounds, knobs, rows, ends,
            logits.stride(0), knobs.stride(0),
            V,
            SPLIT=SPLIT, BLOCK_V=BLOCK_V // 2,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
        _best[(S,)](
            drawn, drawn if tokens is None else tokens, best, at, rows, ends,
            0 if tokens is None else tokens.stride(0),
            splits,
            HAS_TOKENS=tokens is not None, BLOCK_S=triton.next_power_of_2(splits),
            num_warps=1, enable_fp_fusion=True,
        )  # fmt: skip
    return drawn
