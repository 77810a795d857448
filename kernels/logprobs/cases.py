"""The configurations of logprobs: each vocabulary, with the best 5 (padded to 8) and the API's most, 20 (to 32)."""

from typing import Any

from kernels._case import Case, Outputs, Size, Source, nbytes
from kernels._shapes import SHAPES, Shape
from kernels.logprobs import kernel, reference


def _launch(**given: Any) -> Outputs:
    return kernel.logprobs(**given)


def _reference(**given: Any) -> Outputs:
    return reference.logprobs(**given)


def _case(shape: Shape, k: int) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        logits = source.normal(size.rows, shape.vocab) * 3
        return {"logits": logits, "drawn": source.integers(0, shape.vocab, size.rows), "k": k}

    return Case(f"logprobs-{k}-{shape.name}", _launch, _reference, inputs, lambda a: nbytes(a["logits"]))


CASES = tuple(_case(shape, k) for shape in SHAPES for k in (0, 5, 20))
