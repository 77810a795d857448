"""The configurations of silu_mul: each inner size."""

from typing import Any

from torch import Tensor

from kernels._case import Case, Outputs, Size, Source, nbytes
from kernels._shapes import SHAPES, Shape
from kernels.silu_mul import kernel, reference


def _launch(x: Tensor) -> Outputs:
    return (kernel.silu_mul(x),)


def _reference(x: Tensor) -> Outputs:
    return (reference.silu_mul(x),)


def _case(shape: Shape) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        return {"x": source.normal(size.rows, 2 * shape.inner, dtype=shape.dtype)}

    return Case(f"silu_mul-{shape.name}", _launch, _reference, inputs, lambda a: nbytes(a["x"]) * 3 // 2)


CASES = tuple(_case(shape) for shape in SHAPES)
