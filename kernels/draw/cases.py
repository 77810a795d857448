"""The configurations of draw: each vocabulary, with rows of every kind in turn."""

import math
from typing import Any

import torch
from torch import Tensor

from kernels._case import Case, Outputs, Size, Source, nbytes
from kernels._shapes import SHAPES, Shape
from kernels.draw import kernel, reference

KINDS = (  # top-k, temperature, top-p, min-p
    (0, 0.0, math.inf, 0.0),
    (0, 0.7, math.inf, 0.0),
    (20, 0.6, 0.95, 0.0),
    (0, 1.0, 0.9, 0.0),
    (50, 1.3, math.inf, 0.05),
    (0, 0.8, math.inf, 0.1),
    (1, 1.0, 0.5, 0.5),
)


def knobs(kinds: list[tuple[int, float, float, float]], source: Source) -> Tensor:
    """[len(kinds), 6], with random seeds."""
    ints = source.given([kind[0] for kind in kinds])[:, None]
    floats = torch.tensor([kind[1:] for kind in kinds], dtype=torch.float32, device=source.device).view(torch.int32)
    return torch.cat((source.integers(-(2**31), 2**31 - 1, len(kinds), 2), ints, floats), dim=1)


def _launch(**given: Any) -> Outputs:
    return (kernel.draw(**given),)


def _reference(**given: Any) -> Outputs:
    return (reference.draw(**given),)


def _case(shape: Shape) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        return {
            "logits": source.normal(size.rows, shape.vocab) * 3,
            "knobs": knobs([KINDS[row % len(KINDS)] for row in range(size.rows)], source),
            "rows": source.shuffled(size.rows),
            "ends": source.integers(0, size.context, size.rows),
        }

    return Case(f"draw-{shape.name}", _launch, _reference, inputs, lambda a: nbytes(a["logits"]))


CASES = tuple(_case(shape) for shape in SHAPES)
