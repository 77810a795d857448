"""SiLU of the gate times the rest, in one pass of a compiled loop."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from kernels._loops import BITS, COUNT, FIRST, Loop, address, loop, take, tensor
from kernels._vectors import exp, narrow, widen


def silu_mul(x: Tensor) -> Tensor:
    """x [T, 2 * I], gate first, contiguous, float32 | bfloat16; y [T, I] is new and contiguous."""
    tokens, size = x.shape[0], x.shape[1] // 2
    y = x.new_empty(tokens, size)
    _silu_mul(x.dtype)(tokens, x.numel(), address(x), address(y), size)
    return y


@cache
def _silu_mul(dtype: torch.dtype) -> Loop:
    bits = BITS[dtype]

    def body(words):
        tokens, size = words[COUNT], words[FIRST + 2]
        x = tensor(words, FIRST, (tokens, 2, size), bits)
        y = tensor(words, FIRST + 1, (tokens, size), bits)
        t = take(words)
        while t < tokens:
            gate, rest, out = x[t, 0], x[t, 1], y[t]
            for i in range(size):
                g = widen(gate[i])
                out[i] = narrow(g / (np.float32(1) + exp(-g)) * widen(rest[i]), out[i])
            t = take(words)

    return loop(body)
