"""x W^T + b as a compiled loop, with what stands before and behind it: norm of x, sum with y, gate.

An item is a block of rows of x and a group of panels of W. The rows are widened to float32 once, with their norm if
there is one; then each panel is multiplied with as many rows at a time as leave their sums in registers. So weights of
bfloat16 are products of float32, for which an Intel processor takes half as long as for its own of bfloat16, unless it
has tiles (AMX).
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from kernels._loops import BITS, COUNT, FIRST, THREADS, Loop, address, helper, loop, take, tensor
from kernels._vectors import LANES, REGISTERS, exp, multiply, narrow, widen

COLUMNS = 2 * LANES  # of a panel
# Rows of x at a time, and in how many parts their sums are made. So there are 24 sums in 32 registers, or 12 in 16,
# beside what they are made of; and with fewer rows as many as are on their way at once.
RUNGS = ((12, 1), (8, 1), (4, 2), (2, 4), (1, 8)) if REGISTERS == 32 else ((6, 1), (4, 1), (3, 2), (2, 2), (1, 4))
ROWS = RUNGS[0][0]
UNIT = 8  # inputs are filled up to a multiple, so that a sum can be made in parts
BLOCK = 96  # rows of x that stay in the second cache
MANY = 4 * ROWS  # of x: then a panel of bfloat16 is widened once for all of them, where registers are few
AHEAD = 8192  # bytes of W that are on their way
SHARES = 4  # items for each thread, at least
Norm = tuple[Tensor, float] | None  # weight [inputs] and eps


class Matrix:
    """A matrix [outputs, inputs] and its bias, laid out for `linear`: panels [panels, inputs, COLUMNS], filled up with
    zeros. With a gate the first half are gates: a panel gets COLUMNS / 2 of them and the outputs they belong to."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, gated: bool = False) -> None:
        (rows, self.inputs), halves = weight.shape, 2 if gated else 1
        self.outputs, width = rows // halves, COLUMNS // halves  # of y
        panels, depth = -(-self.outputs // width), -(-self.inputs // UNIT) * UNIT
        whole = weight.new_zeros(halves, panels * width, depth)
        whole[:, : self.outputs, : self.inputs] = weight.view(halves, self.outputs, self.inputs)
        self._panels = whole.view(halves, panels, width, depth).permute(1, 3, 0, 2).contiguous()
        self._bias = None
        if bias is not None:
            line = bias.new_zeros(halves, panels * width)
            line[:, : self.outputs] = bias.view(halves, self.outputs)
            self._bias = line.view(halves, panels, width).transpose(0, 1).contiguous()
        self.elements = self._panels.numel()
        self.words = (address(self._panels), address(self._bias), self.inputs, self.outputs, panels, gated)


def linear(x: Tensor, matrix: Matrix, y: Tensor, *, adds: bool = False, norm: Norm = None) -> None:
    """y [T, outputs] = norm(x) W^T + b, or += if `adds`; with a gate silu of the first half times the second.

    x [T, inputs], float32 | bfloat16; y in its dtype, or float32; all contiguous.
    """
    rows, (weight, eps) = len(x), norm or (None, 0.0)
    if x.shape[1] != matrix.inputs or y.shape != (rows, matrix.outputs):
        raise ValueError(f"linear: [{matrix.outputs}, {matrix.inputs}] times {[*x.shape]} into {[*y.shape]}")
    run = _linear(x.dtype, y.dtype, eps)
    run(rows, rows * matrix.elements, address(x), address(y), address(weight), adds, *matrix.words)


@helper
def _silu(x):
    return x / (np.float32(1) + exp(-x))


@helper
def _store(line, y, bias, has_bias, adds, gated):
    """y [n] += or = a row of a panel's products [COLUMNS]."""
    if has_bias:
        for j in range(COLUMNS):
            line[j] += widen(bias[j])
    if gated:
        for j in range(len(y)):
            y[j] = narrow(_silu(line[j]) * line[COLUMNS // 2 + j], y[j])
    elif adds:
        for j in range(len(y)):
            y[j] = narrow(line[j] + widen(y[j]), y[j])
    else:
        for j in range(len(y)):
            y[j] = narrow(line[j], y[j])


@helper
def _norm(line, weight, eps, like):
    """In place, rounded as an operator of its own would: see `kernels.rms_norm.cpu`."""
    total = np.float32(0)
    for k in range(len(line)):
        total += line[k] * line[k]
    scale = np.float32(1) / np.sqrt(total / np.float32(len(line)) + np.float32(eps))
    for k in range(len(line)):
        line[k] = widen(narrow(widen(narrow(line[k] * scale, like)) * widen(weight[k]), like))


@cache
def _linear(dtype: torch.dtype, result: torch.dtype, eps: float) -> Loop:
    bits, out, ahead = BITS[dtype], BITS[result], AHEAD // dtype.itemsize
    unpacks = dtype == torch.bfloat16 and REGISTERS == 16
    (_, p0), (r1, p1), (r2, p2), (r3, p3), (r4, p4) = RUNGS

    def body(words):
        rows, threads, adds = words[COUNT], words[THREADS], words[FIRST + 3] != 0
        inputs, outputs, panels, gated = words[FIRST + 6], words[FIRST + 7], words[FIRST + 8], words[FIRST + 9] != 0
        depth, width = -(-inputs // UNIT) * UNIT, COLUMNS // 2 if gated else COLUMNS
        blocks = -(-rows // BLOCK)
        per = panels if threads == 1 else max(1, panels * blocks // (SHARES * threads))  # panels of an item
        groups = -(-panels // per)
        items = blocks * groups
        x = tensor(words, FIRST, (rows, inputs), bits)
        y = tensor(words, FIRST + 1, (rows, outputs), out)
        weight, normed = tensor(words, FIRST + 2, (inputs,), bits), words[FIRST + 2] != 0
        matrix = tensor(words, FIRST + 4, (panels * depth * COLUMNS,), bits)
        bias, has_bias = tensor(words, FIRST + 5, (panels, COLUMNS), bits), words[FIRST + 5] != 0
        wide = np.empty(min(rows + ROWS, BLOCK) * depth, np.float32)
        sums = np.empty(ROWS * COLUMNS, np.float32)
        broad = np.empty(depth * COLUMNS if unpacks else 1, np.float32)
        item = take(words)
        while item < items:
            first = item // groups * BLOCK
            count = min(BLOCK, rows - first)
            for r in range(count):
                line, source = wide[r * depth : r * depth + inputs], x[first + r]
                for k in range(inputs):
                    line[k] = widen(source[k])
                if normed:
                    _norm(line, weight, eps, source[0])
                wide[r * depth + inputs : (r + 1) * depth] = np.float32(0)
            wide[count * depth : -(-count // ROWS) * ROWS * depth] = np.float32(0)
            for p in range(item % groups * per, min(panels, (item % groups + 1) * per)):
                panel, place = matrix[p * depth * COLUMNS :], p * width
                soon = panel[ahead:]
                unpacked = unpacks and count >= MANY  # a tenth faster on an EPYC with AVX2
                if unpacked:
                    for k in range(depth * COLUMNS):
                        broad[k] = widen(panel[k])
                for r in range(0, count, ROWS):
                    a, left = wide[r * depth :], count - r
                    if unpacked and left > r1:
                        multiply(sums, COLUMNS, a, depth, broad, COLUMNS, depth, ROWS, COLUMNS, 1, False, None)
                    elif left > r1:
                        multiply(sums, COLUMNS, a, depth, panel, COLUMNS, depth, ROWS, COLUMNS, p0, False, soon)
                    elif left > r2:
                        multiply(sums, COLUMNS, a, depth, panel, COLUMNS, depth, r1, COLUMNS, p1, False, soon)
                    elif left > r3:
                        multiply(sums, COLUMNS, a, depth, panel, COLUMNS, depth, r2, COLUMNS, p2, False, soon)
                    elif left > r4:
                        multiply(sums, COLUMNS, a, depth, panel, COLUMNS, depth, r3, COLUMNS, p3, False, soon)
                    else:
                        multiply(sums, COLUMNS, a, depth, panel, COLUMNS, depth, r4, COLUMNS, p4, False, soon)
                    for i in range(min(left, ROWS)):
                        target = y[first + r + i, place : min(place + width, outputs)]
                        _store(sums[i * COLUMNS : (i + 1) * COLUMNS], target, bias[p], has_bias, adds, gated)
            item = take(words)

    return loop(body)
