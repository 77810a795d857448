"""A step's difference, taken in at once. With the parts of the block one after the other, `skip` ints into it:

    added [A, C] | ids [T] | listed [E] | places [P] | block ids [P] | rows, starts, counts [W] each | sampled [D]

    for added row a = added[i]:  parameters[a.row] = added[i]    tokens[a.row, j] = the j-th of its a.length ids
                                 lists[a.row, k] = the k-th of its a.listed ones; what lies behind them stays
    for place p:                 tables.flat[places[p]] = block ids[p]
    for work n < B:              rows, starts, counts[n] = the block's; from W on  -1, 0, pad_count
    for draw s < S:              sampled[s] = the block's; from D on  B - 1, which is padding then

    tokens [R, L]    tables [R, width]    parameters [R, C]    lists [R, K]    all int32
The first column of `added` is the row, the next its length, the third what is listed of it; the others are only copied.
One launch of short programs: one for each added row, one for each CHUNK of all ids, however they are spread over the
rows, one for each CHUNK of places or work. The grid depends on the sizes, which the host knows; nothing is read back.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

CHUNK = 1024
ROW, LENGTH, LISTED = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
VARYING = ["skip", "added", "token_count", "listed_count", "block_count", "work", "draws", "B", "S", "pad_count"]
VARYING += ["block_ptr", "rows_ptr", "starts_ptr", "counts_ptr", "sampled_ptr"]


class Sizes(NamedTuple):
    """Of the parts of a block."""

    skip: int  # before the added rows
    added: int
    tokens: int
    listed: int
    blocks: int
    work: int
    draws: int


@triton.jit
def _sum_before(columns_ptr, a, C, BLOCK_A: tl.constexpr):
    """Of one column of the added rows before a."""
    total = a * 0
    for first in range(0, a, BLOCK_A):
        i = first + tl.arange(0, BLOCK_A)
        total += tl.sum(tl.load(columns_ptr + i * C, mask=i < a, other=0), axis=0)
    return total


@triton.jit
def _take_row(
    parameters_ptr, lists_ptr, added_ptr, listed_ptr, a,
    parameters_stride_r, lists_stride_r,
    C, K,
    BLOCK_A: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, BLOCK_C)
    row = tl.load(added_ptr + a * C + ROW).to(tl.int64)
    tl.store(
        parameters_ptr + row * parameters_stride_r + c, tl.load(added_ptr + a * C + c, mask=c < C, other=0), mask=c < C
    )
    first, count = _sum_before(added_ptr + LISTED, a, C, BLOCK_A), tl.load(added_ptr + a * C + LISTED)
    count = tl.minimum(count, K)
    for done in range(0, count, BLOCK_A):
        k = done + tl.arange(0, BLOCK_A)
        tl.store(lists_ptr + row * lists_stride_r + k, tl.load(listed_ptr + first + k, mask=k < count), mask=k < count)


@triton.jit
def _take_tokens(
    tokens_ptr, added_ptr, ids_ptr, first, total, added,
    tokens_stride_r, C,
    BLOCK_A: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """The ids from `first` on: past the rows that end before it, then row by row."""
    a = first * 0
    begin = first * 0  # where the ids of row a do
    summed = first * 0
    for done in range(0, added, BLOCK_A):
        i = done + tl.arange(0, BLOCK_A)
        length = tl.load(added_ptr + i * C + LENGTH, mask=i < added, other=0)
        over = (i < added) & (summed + tl.cumsum(length, axis=0) <= first)
        a += tl.sum(over.to(tl.int32), axis=0)
        begin += tl.sum(tl.where(over, length, 0), axis=0)
        summed += tl.sum(length, axis=0)
    t = first + tl.arange(0, CHUNK)
    id = tl.load(ids_ptr + t, mask=t < total, other=0)
    while (a < added) & (begin < first + CHUNK):
        row = tl.load(added_ptr + a * C + ROW).to(tl.int64)
        end = begin + tl.load(added_ptr + a * C + LENGTH)
        tl.store(tokens_ptr + row * tokens_stride_r + (t - begin), id, mask=(t >= begin) & (t < end) & (t < total))
        begin = end
        a += 1


@triton.jit(do_not_specialize=VARYING)
def _row_update(
    tokens_ptr, tables_ptr, parameters_ptr, lists_ptr, rows_ptr, starts_ptr, counts_ptr, sampled_ptr, block_ptr,
    tokens_stride_r, parameters_stride_r, lists_stride_r,
    skip, added, token_count, listed_count, block_count, work, draws, B, S, pad_count,
    C, K,
    BLOCK_A: tl.constexpr, BLOCK_C: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    added_ptr = block_ptr + skip
    ids_ptr = added_ptr + added * C
    listed_ptr = ids_ptr + token_count
    places_ptr = listed_ptr + listed_count
    program = tl.program_id(0)
    chunks = tl.cdiv(token_count, CHUNK)
    if program < added:
        _take_row(
            parameters_ptr, lists_ptr, added_ptr, listed_ptr, program,
            parameters_stride_r, lists_stride_r, C, K, BLOCK_A, BLOCK_C,
        )  # fmt: skip
    elif program < added + chunks:
        first = (program - added) * CHUNK
        _take_tokens(tokens_ptr, added_ptr, ids_ptr, first, token_count, added, tokens_stride_r, C, BLOCK_A, CHUNK)
    else:
        i = (program - added - chunks) * CHUNK + tl.arange(0, CHUNK)
        place = tl.load(places_ptr + i, mask=i < block_count, other=0)
        tl.store(tables_ptr + place, tl.load(places_ptr + block_count + i, mask=i < block_count), mask=i < block_count)
        work_ptr = places_ptr + 2 * block_count
        tl.store(rows_ptr + i, tl.load(work_ptr + i, mask=i < work, other=-1), mask=i < B)
        tl.store(starts_ptr + i, tl.load(work_ptr + work + i, mask=i < work, other=0), mask=i < B)
        count = tl.load(work_ptr + 2 * work + i, mask=i < work, other=0)
        tl.store(counts_ptr + i, tl.where(i < work, count, pad_count), mask=i < B)
        drawn = tl.load(work_ptr + 3 * work + i, mask=i < draws, other=0)
        tl.store(sampled_ptr + i, tl.where(i < draws, drawn, B - 1), mask=i < S)


def row_update(
    block: torch.Tensor,
    tokens: torch.Tensor,
    tables: torch.Tensor,
    parameters: torch.Tensor,
    lists: torch.Tensor,
    rows: torch.Tensor,
    starts: torch.Tensor,
    counts: torch.Tensor,
    sampled: torch.Tensor,
    sizes: Sizes,
    *,
    pad_count: int = 1,
) -> None:
    """That no row has more than L ids or K listed ones, and no place lies outside, is for the caller to see to."""
    (R, C), (B,), (S,) = parameters.shape, rows.shape, sampled.shape
    _, added, token_count, listed_count, block_count, work, draws = sizes
    if not tokens.shape[0] == tables.shape[0] == lists.shape[0] == R or not starts.shape == counts.shape == (B,):
        raise ValueError(
            f"row_update: tokens {[*tokens.shape]}, tables {[*tables.shape]}, parameters {[R, C]}, "
            f"lists {[*lists.shape]}, rows {[B]}, starts {[*starts.shape]}, counts {[*counts.shape]}"
        )
    needed = sizes.skip + added * C + token_count + listed_count + 2 * block_count + 3 * work + draws
    if LISTED.value >= C or min(sizes) < 0 or block.shape != (block.numel(),) or block.numel() < needed:
        raise ValueError(f"row_update: block {[*block.shape]} is too short for {sizes} with {C} columns")
    if work > B or draws > S or (draws < S and work == B) or pad_count < 0:
        raise ValueError(
            f"row_update: work {work} of {B}, draws {draws} of {S}, pad_count {pad_count}: a draw is padded with work"
        )
    everything = (block, tokens, tables, parameters, lists, rows, starts, counts, sampled)
    if {part.dtype for part in everything} != {torch.int32} or any(part.stride(-1) != 1 for part in everything):
        raise ValueError("row_update: everything must be int32, its last dimension contiguous")
    if not tables.is_contiguous():
        raise ValueError("row_update: tables must be contiguous: places count through all of them")
    grid = added + triton.cdiv(token_count, CHUNK) + triton.cdiv(max(block_count, B, S), CHUNK)
    if grid:
        _row_update[(grid,)](
            tokens, tables, parameters, lists, rows, starts, counts, sampled, block,
            tokens.stride(0), parameters.stride(0), lists.stride(0),
            *sizes, B, S, pad_count,
            C, lists.shape[1],
            BLOCK_A=256, BLOCK_C=triton.next_power_of_2(C), CHUNK=CHUNK,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
