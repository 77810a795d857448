"""Calls of loops, recorded once and run again by a single call: what Python does between two loops takes as long as a
short loop does, and each of them may wait for the interpreter.
"""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor, get_num_threads

from kernels._loops import COUNT, FIRST, THREADS, Loop, loop, recorders, team_address, tensor


class Tape:
    """All the calls get the same count when they are run; else they are as they were recorded, and read and write the
    tensors they were given then, which the tape keeps."""

    def __init__(self) -> None:
        self._calls: list[tuple[Loop, tuple[int, ...]]] = []
        self._kept: list[Tensor] = []

    @contextmanager
    def record(self) -> Iterator[None]:
        """Loops that are called meanwhile are not run, in whatever thread: nobody else may compute."""
        recorders.append(self)
        try:
            yield
        finally:
            recorders.remove(self)
        width = FIRST + max(len(words) for _, words in self._calls)
        self._lines = np.zeros((len(self._calls), width), np.int64)
        for line, (_, words) in zip(self._lines, self._calls, strict=True):
            line[FIRST : FIRST + len(words)] = words
        self._loops = np.array([loop.address for loop, _ in self._calls], np.int64)

    def take(self, loop: Loop, words: tuple[int, ...]) -> None:
        self._calls.append((loop, words))

    def keep(self, x: Tensor) -> None:
        self._kept.append(x)

    def run(self, count: int) -> None:
        """One call after the other, each by as many threads as torch has now. They are called from outside any team:
        within one, even of one thread, OpenMP would start new threads for each."""
        lines, threads = self._lines, get_num_threads()
        lines[:, COUNT], lines[:, THREADS] = count, threads
        team = team_address if threads > 1 else 0
        words = array("q", (0, len(lines), threads, lines.ctypes.data, lines.shape[1], self._loops.ctypes.data, team))
        place, _ = words.buffer_info()
        _player().alone(place)


@intrinsic
def _call(context, team, function, line, threads):
    """function(line), by so many threads of a team, or by this one where `team` is 0."""

    def generate(codegen, builder, signature, values):
        team, function, line, threads = values
        short = ir.IntType(32)
        alone = ir.FunctionType(ir.VoidType(), [line.type])
        together = ir.FunctionType(ir.VoidType(), [function.type, line.type, short, short])
        with builder.if_else(builder.icmp_signed("==", team, ir.Constant(team.type, 0))) as (then, otherwise):
            with then:
                builder.call(builder.inttoptr(function, alone.as_pointer()), [line])
            with otherwise:
                number, flags = builder.trunc(threads, short), ir.Constant(short, 0)
                builder.call(builder.inttoptr(team, together.as_pointer()), [function, line, number, flags])
        return codegen.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@cache
def _player() -> Loop:
    def body(words):
        calls, width, team = words[COUNT], words[FIRST + 1], words[FIRST + 3]
        lines = tensor(words, FIRST, (calls, width), np.int64)
        loops = tensor(words, FIRST + 2, (calls,), np.int64)
        for i in range(calls):
            lines[i, 0] = 0
            _call(team, loops[i], words[FIRST] + i * width * 8, words[THREADS])

    return loop(body)
