"""Kernels that only give out what the shared functions of device code compute."""

import triton
import triton.language as tl

from kernels._math import log, ordered, unordered
from kernels.draw.noise import gumbel, row_key


@triton.jit
def log_of(out_ptr, x_ptr, N, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out_ptr + i, log(tl.load(x_ptr + i, mask=i < N, other=1.0)), mask=i < N)


@triton.jit
def keys_of(keys_ptr, back_ptr, x_ptr, N, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    key = ordered(tl.load(x_ptr + i, mask=i < N, other=1.0))
    tl.store(keys_ptr + i, key, mask=i < N)
    tl.store(back_ptr + i, unordered(key), mask=i < N)


@triton.jit
def noise_of(out_ptr, low, high, position, N, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out_ptr + i, gumbel(row_key(low, high, position), i), mask=i < N)
