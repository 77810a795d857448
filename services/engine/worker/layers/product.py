"""norm(x) W^T + b by a library, with the matrix as it was loaded; `cpu_products` has those that are laid out anew."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class RowNorm(Protocol):
    """RMS norm of each row, for whoever computes it by itself and for whoever makes it part of something larger."""

    weight: Tensor  # [inputs]
    eps: float

    def __call__(self, x: Tensor) -> Tensor: ...


class Product(Protocol):
    """Of one matrix [outputs, inputs] and its bias, neither changed any more."""

    def __call__(self, x: Tensor, norm: RowNorm | None = None, *, wide: bool = False) -> Tensor:
        """x [T, inputs] -> a new [T, outputs], float32 if `wide`."""
        ...

    def into(self, y: Tensor, x: Tensor, *, adds: bool) -> None:
        """y [T, outputs] = x W^T + b, or y += it."""
        ...


def put(z: Tensor, y: Tensor, *, adds: bool) -> None:
    """y = z, or y += z: `into` for those who make a tensor of their own first."""
    if adds:
        y.add_(z)
    else:
        y.copy_(z)


class Plain:
    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight
        self._transposed = weight.t()
        self._bias = bias

    def __call__(self, x: Tensor, norm: RowNorm | None = None, *, wide: bool = False) -> Tensor:
        y = functional.linear(x if norm is None else norm(x), self._weight, self._bias)
        return y.float() if wide else y

    def into(self, y: Tensor, x: Tensor, *, adds: bool) -> None:
        if adds:
            y.addmm_(x, self._transposed)
        else:
            torch.mm(x, self._transposed, out=y)
        if self._bias is not None:
            y.add_(self._bias)


class Gated:
    """The first half of another product's outputs are gates of the second, which alone is left."""

    def __init__(self, product: Product, silu_mul: Callable[[Tensor], Tensor]) -> None:
        self._product = product
        self._silu_mul = silu_mul

    def __call__(self, x: Tensor, norm: RowNorm | None = None, *, wide: bool = False) -> Tensor:
        y = self._silu_mul(self._product(x, norm))
        return y.float() if wide else y

    def into(self, y: Tensor, x: Tensor, *, adds: bool) -> None:
        put(self(x), y, adds=adds)
