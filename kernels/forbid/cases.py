"""The configurations of forbid: each vocabulary; every third row is below its min_tokens, every seventh is padding."""

from collections.abc import Mapping
from typing import Any

from kernels._case import Case, Outputs, Size, Source
from kernels._shapes import SHAPES, Shape
from kernels.forbid import kernel, reference

STOPS = 8


def _launch(**given: Any) -> Outputs:
    return (kernel.forbid(**given),)


def _reference(**given: Any) -> Outputs:
    return (reference.forbid(**given),)


def _case(shape: Shape) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        early = [size.context if row % 3 == 0 else 0 for row in range(size.rows)]
        return {
            "logits": source.normal(size.rows, shape.vocab),
            "stops": source.integers(-1, shape.vocab, size.rows, STOPS),
            "free_from": source.given(early),
            "rows": source.given([-1 if row % 7 == 6 else size.rows - 1 - row for row in range(size.rows)]),
            "ends": source.integers(0, size.context, size.rows),
        }

    def moved(a: Mapping[str, Any]) -> int:
        """Of a third of the rows the stop ids read and their logits written; of all, three numbers."""
        rows = len(a["rows"])
        return rows * 12 + -(-rows // 3) * STOPS * 8

    return Case(f"forbid-{shape.name}", _launch, _reference, inputs, moved)


CASES = tuple(_case(shape) for shape in SHAPES)
