"""Products for a CPU, of matrices that are laid out when they are loaded: by loops of our own, by oneDNN, or both."""

import math
import time
from collections.abc import Callable
from functools import cache, lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from kernels.linear.cpu import Matrix, linear
from services.engine.worker.layers.product import Plain, Product, RowNorm, put

PRIVATE = "_linear_pointwise", "_reorder_linear_weight"  # of torch: it may lose them
# Of numbers of rows: in steps of 1 up to 2, of 2 up to 4, and so on.
STEPS, LARGEST_STEP = ((2, 1), (4, 2), (16, 4), (64, 8), (128, 16), (256, 32), (1024, 64)), 256
TYPICAL_ROWS = 64  # of x: what oneDNN lays a matrix out for; others are served too
FEW = 16  # rows for which loops are faster where oneDNN is for many; measured on one processor with tiles
TWICE = 1 << 27  # bytes of weights that may lie there in both ways
TRIAL, TRIALS = (512, 512), 10
CLEARLY = 0.8  # faster: of the time

Kind = Callable[[Tensor, Tensor | None], Product]


class Panels:
    """By `kernels.linear`, which makes norm, bias, sum and gate parts of the product."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, gated: bool = False) -> None:
        self._matrix = Matrix(weight, bias, gated=gated)

    def __call__(self, x: Tensor, norm: RowNorm | None = None, *, wide: bool = False) -> Tensor:
        y = torch.empty(len(x), self._matrix.outputs, dtype=torch.float32 if wide else x.dtype)
        linear(x, self._matrix, y, norm=None if norm is None else (norm.weight, norm.eps))
        return y

    def into(self, y: Tensor, x: Tensor, *, adds: bool) -> None:
        linear(x, self._matrix, y, adds=adds)


class Packed:
    """By oneDNN. With a plain matrix bfloat16 would be laid out in each product with few rows, and float32 go to a
    library that is half as fast; the operators are those of torch's compiler (Inductor).

    oneDNN writes a program for every number of rows that it meets, which takes milliseconds and half a megabyte: so x
    gets as many rows as `rounded` says.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, TYPICAL_ROWS)
        self._bias = bias

    def __call__(self, x: Tensor, norm: RowNorm | None = None, *, wide: bool = False) -> Tensor:
        tokens = len(x)
        more = rounded(tokens) - tokens
        if norm is not None:
            x = norm(x)
        if more:
            x = functional.pad(x, (0, 0, 0, more))
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], None)
        y = y[:tokens] if more else y
        return y.float() if wide else y

    def into(self, y: Tensor, x: Tensor, *, adds: bool) -> None:
        put(self(x), y, adds=adds)


class Both:
    """The same matrix laid out twice. By loops for a FEW rows, whose step is one call (`taped_decoding`): on a
    processor with tiles (AMX) it took 0.4 to 0.9 times as long as by oneDNN. By oneDNN for more: a prompt half as
    long."""

    def __init__(self, few: Panels, many: Product) -> None:
        self._few, self._many = few, many

    def __call__(self, x: Tensor, norm: RowNorm | None = None, *, wide: bool = False) -> Tensor:
        return self._of(x)(x, norm, wide=wide)

    def into(self, y: Tensor, x: Tensor, *, adds: bool) -> None:
        self._of(x).into(y, x, adds=adds)

    def _of(self, x: Tensor) -> Product:
        return self._few if len(x) <= FEW else self._many


@lru_cache(maxsize=1 << 13)
def rounded(rows: int) -> int:
    """`rows` or a few more: some thirty numbers up to 1,024; those above 32 are at most a quarter too large."""
    unit = next((unit for most, unit in STEPS if rows <= most), LARGEST_STEP)
    return -(-rows // unit) * unit


@cache
def best_on_cpu(dtype: torch.dtype) -> Kind:
    """Loops where LLVM makes vectors of them that hold their sums, else oneDNN where it is there and knows the dtype.

    bfloat16 is tried: some processors have instructions that are faster than those for float32, some slower ones.
    """
    library = _of_library(dtype)
    if not _has_vectors():
        return library
    tried = dtype == torch.bfloat16 and library is Packed
    return library if tried and _share(library, Panels, dtype) < CLEARLY else Panels


def lie_twice(kind: Kind, size: int) -> bool:
    """Are the matrices of a model of `size` bytes `Both`, if `kind` is best for many rows? A large one's are not: they
    would take its memory twice."""
    return kind is Packed and size <= TWICE and _has_vectors()


def _has_vectors() -> bool:
    """For the sums of `kernels.linear`."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def _of_library(dtype: torch.dtype) -> Kind:
    operators = torch.ops.mkldnn
    if not torch._C._has_mkldnn or not all(hasattr(operators, name) for name in PRIVATE):
        return Plain
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return Plain
    return Packed


def _share(kind: Kind, other: Kind, dtype: torch.dtype) -> float:
    """How long a product of the one takes in times of the other, by one thread: the shortest of trials in turn."""
    products = [kind(torch.zeros(TRIAL, dtype=dtype), None) for kind in (kind, other)]
    x, taken = torch.zeros(TYPICAL_ROWS, TRIAL[1], dtype=dtype), [math.inf, math.inf]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(1 + TRIALS):  # the first compiles
        for index, product in enumerate(products):
            began = time.perf_counter()
            product(x)
            taken[index] = min(taken[index], time.perf_counter() - began)
    torch.set_num_threads(threads)
    return taken[0] / taken[1]
