"""The inputs of a step: for token i of work n, at t = counts[0] + ... + counts[n - 1] + i and p = starts[n] + i,

    ids[t] = tokens[rows[n], p]    positions[t] = p    slots[t] = tables[rows[n], p // B] * B + p % B
    firsts[n] = t of i = 0         lengths[n] = starts[n] + counts[n]
and for draw s of work n = sampled[s]:
    last[s] = t of the work's last token    drawing[s] = rows[n]    ends[s] = lengths[n]

    tokens [R, L] int32    tables [R, W] int32    rows, starts, counts [N] int32    sampled [S] int32
A row below 0 is padding, as a captured graph needs it: id 0, position 0, slot -1, length 0, and nothing of a row.
One program for each work and each draw; each sums the counts before it by itself, so there is no second launch.
The grid depends on N and S alone; nothing is read back to the host.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

BLOCK = 256


class StepInputs(NamedTuple):
    ids: torch.Tensor  # [T] int32
    positions: torch.Tensor  # [T] int32
    slots: torch.Tensor  # [T] int64
    firsts: torch.Tensor  # [N + 1] int32
    lengths: torch.Tensor  # [N] int32
    last: torch.Tensor  # [S] int32
    drawing: torch.Tensor  # [S] int32
    ends: torch.Tensor  # [S] int32


VARYING = ["N", *(f"{name}_ptr" for name in (*StepInputs._fields, "rows", "starts", "counts", "sampled"))]


def empty_inputs(tokens: int, work: int, draws: int, device: torch.device) -> StepInputs:
    """Uninitialised outputs; a graph keeps one for each captured size."""
    sizes = (tokens, tokens, tokens, work + 1, work, draws, draws, draws)
    made = [torch.empty(n, dtype=torch.int64 if i == 2 else torch.int32, device=device) for i, n in enumerate(sizes)]
    return StepInputs(*made)


@triton.jit
def _sum_before(counts_ptr, n, BLOCK: tl.constexpr):
    total = n * 0
    for first in range(0, n, BLOCK):
        i = first + tl.arange(0, BLOCK)
        total += tl.sum(tl.load(counts_ptr + i, mask=i < n, other=0), axis=0)
    return total


@triton.jit(do_not_specialize=VARYING)
def _step_inputs(
    ids_ptr, positions_ptr, slots_ptr, firsts_ptr, lengths_ptr, last_ptr, drawing_ptr, ends_ptr,
    tokens_ptr, tables_ptr, rows_ptr, starts_ptr, counts_ptr, sampled_ptr,
    tokens_stride_r, tables_stride_r,
    N,
    PAGE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    if program < N:
        n = program
        row = tl.load(rows_ptr + n)
        live = (row >= 0).to(tl.int32)
        start, count = tl.load(starts_ptr + n) * live, tl.load(counts_ptr + n)
        first = _sum_before(counts_ptr, n, BLOCK)
        tl.store(firsts_ptr + n, first)
        tl.store(firsts_ptr + n + 1, first + count)
        tl.store(lengths_ptr + n, (start + count) * live)
        of_row = tl.maximum(row, 0).to(tl.int64)
        for done in range(0, count, BLOCK):
            i = done + tl.arange(0, BLOCK)
            m = i < count
            known = i < count * live
            p = tl.where(known, start + i, 0)
            id = tl.load(tokens_ptr + of_row * tokens_stride_r + p, mask=known, other=0)
            block = tl.load(tables_ptr + of_row * tables_stride_r + p // PAGE, mask=known, other=0).to(tl.int64)
            tl.store(ids_ptr + first + i, id, mask=m)
            tl.store(positions_ptr + first + i, p, mask=m)
            tl.store(slots_ptr + first + i, tl.where(known, block * PAGE + p % PAGE, -1), mask=m)
    else:
        s = program - N
        n = tl.load(sampled_ptr + s)
        row = tl.load(rows_ptr + n)
        count = tl.load(counts_ptr + n)
        tl.store(last_ptr + s, _sum_before(counts_ptr, n, BLOCK) + count - 1)
        tl.store(drawing_ptr + s, row)
        tl.store(ends_ptr + s, tl.where(row >= 0, tl.load(starts_ptr + n) + count, 0))


def step_inputs(
    tokens: torch.Tensor,
    tables: torch.Tensor,
    rows: torch.Tensor,
    starts: torch.Tensor,
    counts: torch.Tensor,
    sampled: torch.Tensor,
    block_size: int,
    out: StepInputs,
) -> StepInputs:
    """Returns `out`, whose lengths the caller knows: T = sum of counts, known on the host."""
    N, S = rows.shape[0], sampled.shape[0]
    R = tokens.shape[0]
    if not (N and starts.shape == counts.shape == (N,) and tables.shape[0] == R and block_size > 0):
        raise ValueError(
            f"step_inputs: rows {[N]}, starts {[*starts.shape]}, counts {[*counts.shape]}, tokens {[*tokens.shape]}, "
            f"tables {[*tables.shape]}, blocks of {block_size}"
        )
    T = out.ids.shape[0]
    if tuple(len(part) for part in out) != (T, T, T, N + 1, N, S, S, S) or out.slots.dtype != torch.int64:
        raise ValueError(f"step_inputs: out {[len(part) for part in out]} for work {N}, draws {S}")
    ints = (tokens, tables, rows, starts, counts, sampled, *(part for part in out if part is not out.slots))
    if {part.dtype for part in ints} != {torch.int32} or not tokens.stride(1) == tables.stride(1) == 1:
        raise ValueError("step_inputs: everything but slots must be int32, rows of tokens and tables contiguous")
    if any(part.stride(0) != 1 for part in (rows, starts, counts, sampled, *out)):
        raise ValueError("step_inputs: work, draws and outputs must be contiguous")
    _step_inputs[(N + S,)](
        *out, tokens, tables, rows, starts, counts, sampled,
        tokens.stride(0), tables.stride(0),
        N,
        PAGE=block_size, BLOCK=BLOCK,
        num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return out
