"""x W^T + b by a library, with the matrix as it is or as the library likes it best."""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

PRIVATE = "_linear_pointwise", "_reorder_linear_weight"  # of torch: it may lose them
# Of numbers of rows: in steps of 1 up to 2, of 2 up to 4, and so on.
STEPS, LARGEST_STEP = ((2, 1), (4, 2), (16, 4), (64, 8), (128, 16), (256, 32), (1024, 64)), 256
TYPICAL_ROWS = 64  # of x: what a packed matrix is laid out for; others are served too


class Product(Protocol):
    """Of one matrix [outputs, inputs], which is not changed any more."""

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [T, inputs] -> a new [T, outputs]."""
        ...

    def into(self, y: Tensor, x: Tensor, *, adds: bool) -> None:
        """y [T, outputs] = x W^T, or y += x W^T."""
        ...


class Plain:
    """The matrix as it was loaded."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._transposed = weight.t()

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return functional.linear(x, self._weight, bias)

    def into(self, y: Tensor, x: Tensor, *, adds: bool) -> None:
        if adds:
            y.addmm_(x, self._transposed)
        else:
            torch.mm(x, self._transposed, out=y)


class Packed:
    """For a CPU: oneDNN's own layout, made once. As plain it would be made in each product of bfloat16 with few rows,
    and float32 would go to a library that is half as fast; the operators are those of torch's compiler (Inductor).

    oneDNN writes a program for every number of rows that it meets, which takes milliseconds and half a megabyte: so x
    gets as many rows as `rounded` says.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, TYPICAL_ROWS)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        tokens = len(x)
        more = rounded(tokens) - tokens
        if more:
            x = functional.pad(x, (0, 0, 0, more))
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, bias, "none", [], None)
        return y[:tokens] if more else y

    def into(self, y: Tensor, x: Tensor, *, adds: bool) -> None:
        if adds:
            y.add_(self(x))
        else:
            y.copy_(self(x))


@lru_cache(maxsize=1 << 13)
def rounded(rows: int) -> int:
    """`rows` or a few more: some thirty numbers up to 1,024; those above 32 are at most a quarter too large."""
    unit = next((unit for most, unit in STEPS if rows <= most), LARGEST_STEP)
    return -(-rows // unit) * unit


def best_on_cpu(dtype: torch.dtype) -> Callable[[Tensor], Product]:
    """`Packed` where oneDNN is there and knows the dtype."""
    operators = torch.ops.mkldnn
    if not torch._C._has_mkldnn or not all(hasattr(operators, name) for name in PRIVATE):
        return Plain
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return Plain
    return Packed
