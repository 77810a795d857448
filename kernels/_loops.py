"""Loops for a CPU that torch has no operator for: compiled by Numba, run by the threads that torch runs its own with.

A loop is a C function of one argument, the address of a line of int64 words: how many items have been taken, what the
number of them follows from (rows, mostly), the threads that take them, then whatever else it needs, tensors by their
addresses. Every thread takes the next item until none is left. Numba's own threads would stand beside torch's, and both
wait by spinning: each would hold up the other.

What numbers a loop closes over is compiled into it. An index that could be negative costs a loop its vectors, for Numba
then looks at each: count from 0 within a slice.
"""

import ctypes
import hashlib
import os
import shutil
import tempfile
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

COUNT, THREADS, FIRST = 1, 2, 3  # of the words; the last is the first that is the loop's own
SHORT = 1 << 16  # of work; some ten microseconds
KEPT = 4  # folders of compiled loops, each of one state of the sources
BITS = {torch.bfloat16: np.uint16, torch.float32: np.float32}  # Numba knows no bfloat16: `_vectors.widen`
_MATH = {"nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"}
_WORDS = types.void(types.CPointer(types.int64))


def _cache_folder() -> str:
    """Where compiled loops are kept: one folder for the sources as they are, and for what their sizes follow from.
    Empty where nothing can be written.

    Numba notices when the file of a loop changes, but not when the helpers and sizes do that it is made with.
    """
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    parts = (torch.backends.cpu.get_cpu_capability().encode(), *(path.read_bytes() for path in sources))
    digest = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(base, "sluice", "loops", digest)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(folder)
        found = folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:  # what lies there is run
            return ""
        with tempfile.TemporaryFile(dir=folder):
            _prune(folder.parent)
            return str(folder)
    except OSError:
        return ""


def _prune(folder: Path) -> None:
    """But for those that were used last."""
    with suppress(OSError):  # others may prune too
        for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)


numba.config.CACHE_DIR = _cache_folder()


class Recorder(Protocol):
    """Notes which loops are called instead of running them; see `_tape`."""

    def take(self, loop: "Loop", words: tuple[int, ...]) -> None: ...

    def keep(self, x: Tensor) -> None:
        """A loop that is called next was given this tensor's address."""
        ...


recorders: list[Recorder] = []  # the last of them takes what any thread calls


class Loop:
    """A compiled loop; calling it returns when every item is done, or at once if a recorder takes note of it.

    A short one keeps the interpreter: whoever gets it meanwhile would keep it for longer than the loop takes.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled  # holds the machine code
        self.address: int = compiled.address
        self._held = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(self.address)
        self.alone = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)  # of a line's place; leaves the interpreter

    def __call__(self, count: int, work: int, *words: int) -> None:
        """`work`: how many elements are read, or products made, in all.

        All threads take part, or this one alone: OpenMP would end the threads that a smaller team does not need, and
        start them again for torch's next operator.
        """
        if recorders:
            recorders[-1].take(self, words)
            return
        threads = torch.get_num_threads()
        line = array("q", (0, count, threads, *words))
        place, _ = line.buffer_info()
        if work < SHORT:
            self._held(place)
        else:
            run(self.address, place, threads, 0)


def loop(body: Callable[[Any], None]) -> Loop:
    """Compile `body(words)`. It may close over numbers and dtypes: they are constants, and the key of the cache."""
    compiler = partial(numba.cfunc, _WORDS, fastmath=_MATH, error_model="numpy")
    try:
        return Loop(compiler(cache=bool(numba.config.CACHE_DIR))(body))
    except OSError:  # the disk is full, or the folder is gone
        return Loop(compiler(cache=False)(body))


helper = numba.njit(fastmath=_MATH, error_model="numpy", inline="always")  # sizes that are constant there are so here
function = numba.njit(fastmath=_MATH, error_model="numpy")


def _team() -> tuple[Any, int]:
    """`(function, argument, threads, flags)`: torch's OpenMP and its address, or this thread alone and 0 where OpenMP
    is another library's."""
    try:
        parallel: Any = ctypes.CDLL("libgomp.so.1").GOMP_parallel  # already loaded, by torch
    except (OSError, AttributeError):
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        return lambda function, argument, threads, flags: kind(function)(argument), 0
    parallel.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
    parallel.restype = None
    return parallel, ctypes.cast(parallel, ctypes.c_void_p).value or 0


run, team_address = _team()


def address(x: Tensor | None, *, gaps: bool = False) -> int:
    """For a loop, which knows no strides unless it is told. Raises ValueError for a tensor with `gaps` that may have
    none. None is 0, for what is not read."""
    if x is None:
        return 0
    if not gaps and not x.is_contiguous():
        raise ValueError(f"a loop reads contiguous tensors; this one is {[*x.shape]} with strides {x.stride()}")
    if recorders:
        recorders[-1].keep(x)
    return x.data_ptr()


@intrinsic
def _pointer(context, word):
    def generate(codegen, builder, signature, values):
        return builder.inttoptr(values[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


@helper
def tensor(words, index, shape, dtype):
    """The contiguous array whose address is words[index]."""
    return numba.carray(_pointer(words[index]), shape, dtype)


@intrinsic
def take(context, words):
    """The next item: adds one to the first word, and no other thread gets the same."""

    def generate(codegen, builder, signature, values):
        return builder.atomic_rmw("add", values[0], ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(words), generate
