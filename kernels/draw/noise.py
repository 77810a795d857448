"""The random numbers of `kernels.draw.cpu`, bit by bit: a function of (seed, position, token id).

splitmix64's finaliser (Steele, Lea, Flood 2014) makes two keys of seed and position; a 32-bit finaliser of two
multiplications (C. Wellons' "lowbias32") hashes them with the token id. uint32 and uint64 wrap, as they should.
"""

import triton
import triton.language as tl

from kernels._math import log


@triton.jit
def _mix64(x):
    x = (x ^ (x >> 30)) * tl.full([], 0xBF58476D1CE4E5B9, tl.uint64)
    x = (x ^ (x >> 27)) * tl.full([], 0x94D049BB133111EB, tl.uint64)
    return x ^ (x >> 31)


@triton.jit
def row_key(seed_low, seed_high, position):
    """uint64; all arguments int32."""
    seed = (seed_high.to(tl.uint32, bitcast=True).to(tl.uint64) << 32) | seed_low.to(tl.uint32, bitcast=True)
    return _mix64(_mix64(seed) + position.to(tl.uint64) * tl.full([], 0x9E3779B97F4A7C15, tl.uint64))


@triton.jit
def gumbel(key, v):
    """-log(-log(u)) for the token ids v, with u uniform on the odd multiples of 2^-24 in (0, 1)."""
    x = v.to(tl.uint32, bitcast=True) * tl.full([], 0x9E3779B1, tl.uint32) ^ key.to(tl.uint32)
    x = (x ^ (x >> 16)) * tl.full([], 0x7FEB352D, tl.uint32) + (key >> 32).to(tl.uint32)
    x = (x ^ (x >> 15)) * tl.full([], 0x846CA68B, tl.uint32)
    x = x ^ (x >> 16)
    u = ((x >> 9).to(tl.int32).to(tl.float32) + 0.5) * (1.0 / (1 << 23))
    return -log(-log(u))
