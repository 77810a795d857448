"""A draw of each row in one pass of a compiled loop: argmax_v x[v] + gumbel(keys, v), or the plain argmax.

Random numbers are a function of (seed, position, token id) and of nothing else: a counter-based generator (Salmon et
al. 2011) has no state, so a draw is the same whatever else is in the batch, wherever a request is continued, and on
every device, since integer arithmetic is. The counter is hashed in two stages: (seed, position) by splitmix64's
finaliser (Steele, Lea, Flood 2014) into two keys of 32 bits, and key and token id by a 32-bit finaliser of two
multiplications (C. Wellons' "lowbias32") in whose middle the second key enters.

A row is taken in parts that stay in the nearest cache; a part that cannot beat those before gets no noise.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from kernels._loops import COUNT, FIRST, Loop, address, function, helper, loop, take, tensor
from kernels._vectors import larger, log

PART = 1024  # logits
HIGHEST = np.float32(16.7)  # that the noise may be: u is at most 1 - 2^-24
FEWEST = np.float32(-np.finfo(np.float32).max)


def argmax(logits: Tensor) -> Tensor:
    """logits [S, V] float32, contiguous, not all of a row -inf -> [S] int32: the first of the largest."""
    return _run(logits, None, None)


def draw(logits: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """logits [S, V] float32, contiguous; first and second [S] int32, `row_keys` -> [S] int32."""
    return _run(logits, first.contiguous(), second.contiguous())


def _run(logits: Tensor, first: Tensor | None, second: Tensor | None) -> Tensor:
    rows, size = logits.shape
    drawn = torch.empty(rows, dtype=torch.int32)
    line = address(logits), size, address(first), address(second), address(drawn)
    _draw(first is not None)(rows, logits.numel(), *line)
    return drawn


def row_keys(parameters: Tensor, low: int, rows: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Two keys [S] int32, for `draw`. parameters [R, C] int32 has the halves of each row's seed in columns
    `low` and `low` + 1; rows and positions [S] int32."""
    keys = torch.empty(2, len(rows), dtype=torch.int32)
    line = address(parameters), *parameters.shape, low, address(rows), address(positions), address(keys)
    _row_keys()(len(rows), len(rows), *line)
    return keys[0], keys[1]


@helper
def _mix64(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@cache
def _row_keys() -> Loop:
    def body(words):
        count, limit, columns, low = words[COUNT], words[FIRST + 1], words[FIRST + 2], words[FIRST + 3]
        parameters = tensor(words, FIRST, (limit, columns), np.uint32)
        rows, positions = tensor(words, FIRST + 4, (count,), np.int32), tensor(words, FIRST + 5, (count,), np.int32)
        keys = tensor(words, FIRST + 6, (2, count), np.uint32)
        for s in range(count):
            row = rows[s]
            seed = (np.uint64(parameters[row, low + 1]) << np.uint64(32)) | np.uint64(parameters[row, low])
            key = _mix64(_mix64(seed) + np.uint64(positions[s]) * np.uint64(0x9E3779B97F4A7C15))
            keys[0, s], keys[1, s] = np.uint32(key & np.uint64(0xFFFFFFFF)), np.uint32(key >> np.uint64(32))

    return loop(body)


@helper
def _gumbel(first, second, v):
    """-log(-log(u)), with u uniform on the odd multiples of 2^-24 in (0, 1)."""
    x = np.uint32(np.uint32(v) * np.uint32(0x9E3779B1)) ^ first
    x = np.uint32(np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)) + second)
    x = np.uint32((x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B))
    x = x ^ (x >> np.uint32(16))
    u = (np.float32(np.int32(x >> np.uint32(9))) + np.float32(0.5)) * np.float32(2.0**-23)
    return -log(-log(u))


@function
def _with_noise(x, first, second, v, out):
    """out [n] = x [n] + the noise of ids v, v + 1, ..."""
    for i in range(len(x)):
        out[i] = x[i] + _gumbel(first, second, v + i)


@function
def _largest(x):
    top = FEWEST
    for i in range(len(x)):
        top = larger(top, x[i])
    return top


@function
def _place(x, value):
    for i in range(len(x)):
        if x[i] == value:
            return i
    return 0


@cache
def _draw(noisy: bool) -> Loop:
    def body(words):
        rows, size = words[COUNT], words[FIRST + 1]
        logits = tensor(words, FIRST, (rows, size), np.float32)
        first = tensor(words, FIRST + 2, (rows,), np.uint32)
        second = tensor(words, FIRST + 3, (rows,), np.uint32)
        drawn = tensor(words, FIRST + 4, (rows,), np.int32)
        scratch = np.empty(PART, np.float32)
        row = take(words)
        while row < rows:
            best, at = FEWEST, 0
            for v in range(0, size, PART):
                part = logits[row, v : min(v + PART, size)]
                top = _largest(part)
                if noisy and top + HIGHEST > best:
                    _with_noise(part, first[row], second[row], v, scratch)
                    part = scratch[: len(part)]
                    top = _largest(part)
                if top > best:
                    best, at = top, v + _place(part, top)
            drawn[row] = at
            row = take(words)

    return loop(body)
