"""The configurations of bitmask: each vocabulary; every second row of the batch has a mask, and half of its bits."""

from collections.abc import Mapping
from typing import Any

from kernels._case import Case, Outputs, Size, Source, nbytes
from kernels._shapes import SHAPES, Shape
from kernels.bitmask import kernel, reference


def _launch(**given: Any) -> Outputs:
    return (kernel.bitmask(**given),)


def _reference(**given: Any) -> Outputs:
    return (reference.bitmask(**given),)


def _case(shape: Shape) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        at = list(range(0, size.rows, 2))
        return {
            "logits": source.normal(size.rows, shape.vocab),
            "at": source.given(at),
            "words": source.integers(-(2**31), 2**31 - 1, len(at), -(-shape.vocab // 32)),
        }

    def moved(a: Mapping[str, Any]) -> int:
        """Each mask is read, half of its row's logits, and what comes of it written."""
        rows, vocab = len(a["at"]), int(a["logits"].shape[1])
        return nbytes(a["words"]) + rows * (2 * vocab + 4 * vocab)

    return Case(f"bitmask-{shape.name}", _launch, _reference, inputs, moved)


CASES = tuple(_case(shape) for shape in SHAPES)
