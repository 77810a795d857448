"""The configurations of penalties: each vocabulary; every third row has none, the others repeat themselves."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kernels._case import Case, Outputs, Size, Source, ragged
from kernels._shapes import SHAPES, Shape
from kernels.penalties import kernel, reference

KINDS = ((0.0, 0.0, 1.0), (0.5, 0.25, 1.3), (0.0, -0.5, 0.8))  # presence, frequency, repetition


def _launch(scratch: Tensor, **given: Any) -> Outputs:
    return kernel.penalise(scratch=scratch, **given), scratch


def _reference(scratch: Tensor, **given: Any) -> Outputs:
    return reference.penalise(scratch=scratch, **given), scratch


def _case(shape: Shape) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        kinds = [KINDS[row % len(KINDS)] for row in range(size.rows)]
        return {
            "logits": source.normal(size.rows, shape.vocab),
            "tokens": source.integers(0, min(shape.vocab, size.context), size.rows, size.context),
            "knobs": torch.tensor(kinds, dtype=torch.float32, device=source.device).view(-1, 3).view(torch.int32),
            "rows": source.shuffled(size.rows),
            "ends": source.given(ragged(size)),
            "prompts": source.given([length // 2 for length in ragged(size)]),
            "scratch": torch.zeros(size.rows, shape.vocab, dtype=torch.int32, device=source.device),
        }

    def moved(a: Mapping[str, Any]) -> int:
        """Of each penalised token its id, read twice, and its logit, read and written."""
        rows, context = a["tokens"].shape
        lengths = ragged(Size(rows, context))
        return sum(length * 16 for row, length in enumerate(lengths) if KINDS[row % len(KINDS)] != KINDS[0])

    return Case(f"penalties-{shape.name}", _launch, _reference, inputs, moved)


CASES = tuple(_case(shape) for shape in SHAPES)
