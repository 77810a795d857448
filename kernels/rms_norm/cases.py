"""The configurations of rms_norm: each hidden size, alone and with the sum before it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kernels._case import Case, Outputs, Size, Source, nbytes
from kernels._shapes import SHAPES, Shape
from kernels.rms_norm import kernel, reference


def _launch(x: Tensor, weight: Tensor, eps: float, residual: Tensor | None) -> Outputs:
    y = kernel.rms_norm(x, weight, eps, residual=residual)
    return (y,) if residual is None else (y, residual)


def _reference(x: Tensor, weight: Tensor, eps: float, residual: Tensor | None) -> Outputs:
    if residual is None:
        return (reference.rms_norm(x, weight, eps),)
    return reference.rms_norm(x + residual, weight, eps), x + residual


def _case(shape: Shape, sums: bool) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        x, residual = (source.normal(size.rows, shape.hidden, dtype=shape.dtype) for _ in range(2))
        weight = source.normal(shape.hidden, dtype=shape.dtype)
        return {"x": x, "weight": weight, "eps": 1e-6, "residual": residual if sums else None}

    def moved(a: Mapping[str, Any]) -> int:
        return (4 if sums else 2) * nbytes(a["x"]) + nbytes(a["weight"])

    return Case(f"rms_norm{'-add' if sums else ''}-{shape.name}", _launch, _reference, inputs, moved)


CASES = tuple(_case(shape, sums) for shape in SHAPES for sums in (False, True))
