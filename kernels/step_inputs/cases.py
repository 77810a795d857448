"""The configurations of step_inputs: each block size. Every third row decodes, every seventh is padding, all draw."""

from collections.abc import Mapping
from typing import Any

from kernels._case import Case, Outputs, Size, Source, nbytes, ragged
from kernels._shapes import SHAPES, Shape
from kernels.step_inputs import kernel, reference


def _launch(**given: Any) -> Outputs:
    out = kernel.empty_inputs(given.pop("total"), len(given["rows"]), len(given["sampled"]), given["tokens"].device)
    return kernel.step_inputs(**given, out=out)


def _reference(**given: Any) -> Outputs:
    del given["total"]
    return reference.step_inputs(**given)


def _case(shape: Shape) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        lengths, width = ragged(size), -(-size.context // shape.block)
        padding = [row % 7 == 6 for row in range(size.rows)]
        counts = [1 if row % 3 == 0 or padding[row] else -(-length // 3) for row, length in enumerate(lengths)]
        starts = [0 if hole else length - count for length, count, hole in zip(lengths, counts, padding, strict=True)]
        return {
            "tokens": source.integers(0, shape.vocab, size.rows, size.context),
            "tables": source.shuffled(size.rows * width).view(size.rows, width),
            "rows": source.given([-1 if hole else size.rows - 1 - row for row, hole in enumerate(padding)]),
            "starts": source.given(starts),
            "counts": source.given(counts),
            "sampled": source.shuffled(size.rows)[: -(-size.rows // 2)],
            "block_size": shape.block,
            "total": sum(counts),
        }

    def moved(a: Mapping[str, Any]) -> int:
        """Ids and blocks read; ids, positions and slots written."""
        return int(a["total"]) * (4 + 4 + 4 + 4 + 8) + nbytes(a["rows"]) * 3

    return Case(f"step_inputs-{shape.name}", _launch, _reference, inputs, moved)


CASES = tuple(_case(shape) for shape in SHAPES if shape.name != "mistral-7b")
