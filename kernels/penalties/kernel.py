"""Penalties on what was said: x = x / r if x > 0 else x * r for tokens seen; x -= frequency * n + presence * (n > 0).

n counts a token in the output; seen is in prompt or output (Keskar et al. 2019; OpenAI's API).

    logits  [S, V]  fp32, stride(1) == 1; changed in place      rows  [S] int32: which row of the others each is of
    tokens  [R, L] int32, stride(1) == 1: the ids of each row   ends  [S] int32: how many of them are known
    prompts [R] int32: how many of them are the prompt's        knobs [R, 3] int32, stride(1) == 1: bits of float32
                                                                      presence, frequency, repetition
    scratch [S, V] int32, contiguous, zero before and after
Work goes with the length of a row, not with the vocabulary: `_count` counts each token where its logit would be, and
`_apply` takes the counts away again. Whoever takes one that is not zero applies the penalty: once for each token.
PROGRAMS share a row, block by block in turn, so the grid is small where nobody is penalised: such rows leave at once.
A row below 0, whose end is 0, is padding. The grid depends on S and L alone.
"""

import torch
import triton
import triton.language as tl

BLOCK_L, PROGRAMS = 1024, 8
PROMPT = tl.constexpr(1 << 30)  # the bit that says: in the prompt; below it the count


@triton.jit
def _knobs(knobs_ptr, row, stride):
    at = knobs_ptr + row * stride
    presence = tl.load(at).to(tl.float32, bitcast=True)
    frequency = tl.load(at + 1).to(tl.float32, bitcast=True)
    return presence, frequency, tl.load(at + 2).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["rows_ptr", "ends_ptr", "prompts_ptr"])
def _count(
    scratch_ptr, tokens_ptr, knobs_ptr, rows_ptr, ends_ptr, prompts_ptr,
    tokens_stride_r, knobs_stride_r, prompts_stride_r,
    V,
    BLOCK_L: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(0).to(tl.int64)
    row = tl.maximum(tl.load(rows_ptr + s), 0).to(tl.int64)
    presence, frequency, repetition = _knobs(knobs_ptr, row, knobs_stride_r)
    if (presence != 0.0) | (frequency != 0.0) | (repetition != 1.0):
        prompt = tl.load(prompts_ptr + row * prompts_stride_r)
        end = tl.load(ends_ptr + s)
        for first in range(tl.program_id(1) * BLOCK_L, end, tl.num_programs(1) * BLOCK_L):
            at = first + tl.arange(0, BLOCK_L)
            known = at < end
            id = tl.load(tokens_ptr + row * tokens_stride_r + at, mask=known, other=0)
            tl.atomic_or(scratch_ptr + s * V + id, PROMPT, mask=known & (at < prompt), sem="relaxed")
            tl.atomic_add(scratch_ptr + s * V + id, 1, mask=known & (at >= prompt), sem="relaxed")


@triton.jit(do_not_specialize=["rows_ptr", "ends_ptr"])
def _apply(
    logits_ptr, scratch_ptr, tokens_ptr, knobs_ptr, rows_ptr, ends_ptr,
    logits_stride_s, tokens_stride_r, knobs_stride_r,
    V,
    BLOCK_L: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(0).to(tl.int64)
    row = tl.maximum(tl.load(rows_ptr + s), 0).to(tl.int64)
    presence, frequency, repetition = _knobs(knobs_ptr, row, knobs_stride_r)
    if (presence != 0.0) | (frequency != 0.0) | (repetition != 1.0):
        end = tl.load(ends_ptr + s)
        for first in range(tl.program_id(1) * BLOCK_L, end, tl.num_programs(1) * BLOCK_L):
            at = first + tl.arange(0, BLOCK_L)
            known = at < end
            id = tl.load(tokens_ptr + row * tokens_stride_r + at, mask=known, other=0)
            taken = tl.atomic_xchg(scratch_ptr + s * V + id, tl.zeros([BLOCK_L], tl.int32), mask=known, sem="relaxed")
            mine = known & (taken != 0)
            x = tl.load(logits_ptr + s * logits_stride_s + id, mask=mine, other=0.0)
            count = (taken & (PROMPT - 1)).to(tl.float32)
            x = tl.where(x > 0, tl.math.div_rn(x, repetition), x * repetition)
            x = x - frequency * count - tl.where(count > 0, presence, 0.0)
            tl.store(logits_ptr + s * logits_stride_s + id, x, mask=mine)


def penalise(
    logits: torch.Tensor,
    tokens: torch.Tensor,
    knobs: torch.Tensor,
    rows: torch.Tensor,
    ends: torch.Tensor,
    prompts: torch.Tensor,
    scratch: torch.Tensor,
    *,
    longest: int | None = None,
) -> torch.Tensor:
    """Returns logits. `longest` bounds `ends` where the host knows better than L; a graph is captured with L."""
    S, V = logits.shape
    R, L = tokens.shape
    if not (rows.shape == ends.shape == (S,) and knobs.shape == (R, 3) and prompts.shape == (R,)):
        raise ValueError(
            f"penalise: logits {[*logits.shape]}, tokens {[*tokens.shape]}, knobs {[*knobs.shape]}, "
            f"rows {[*rows.shape]}, ends {[*ends.shape]}, prompts {[*prompts.shape]}"
        )
    if scratch.shape[0] < S or scratch.shape[1:] != (V,) or not scratch.is_contiguous():
        raise ValueError(f"penalise: scratch {[*scratch.shape]}, want {[S, V]}, contiguous")
    ints = {t.dtype for t in (tokens, knobs, rows, ends, prompts, scratch)}
    if logits.dtype != torch.float32 or ints != {torch.int32}:
        raise ValueError(f"penalise: logits {logits.dtype} must be float32, the others int32: {ints}")
    if not logits.stride(1) == tokens.stride(1) == knobs.stride(1) == 1:
        raise ValueError("penalise: rows of logits, tokens and knobs must be contiguous")
    programs = min(PROGRAMS, triton.cdiv(L if longest is None else min(longest, L), BLOCK_L))
    if S and programs:
        _count[(S, programs)](
            scratch, tokens, knobs, rows, ends, prompts,
            tokens.stride(0), knobs.stride(0), prompts.stride(0),
            V,
            BLOCK_L=BLOCK_L,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
        _apply[(S, programs)](
            logits, scratch, tokens, knobs, rows, ends,
            logits.stride(0), tokens.stride(0), knobs.stride(0),
            V,
            BLOCK_L=BLOCK_L,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return logits
