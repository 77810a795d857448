"""The configurations of steer: each vocabulary; rows of every kind in turn, every seventh is padding."""

from collections.abc import Mapping
from typing import Any

import torch

from kernels._case import Case, Outputs, Size, Source
from kernels._shapes import SHAPES, Shape
from kernels.steer import kernel, reference

STOPS, BIASES, ALLOWED, BANNED, BEFORE = 8, 30, 20, 12, 2
LISTED = STOPS + 2 * BIASES + ALLOWED + BANNED * (3 + BEFORE)
KINDS = ((0, 0, 0), (STOPS, 0, 0), (0, BIASES, 0), (STOPS, 0, ALLOWED), (0, 0, 0))  # the last one bans


def _launch(**given: Any) -> Outputs:
    return (kernel.steer(**given),)


def _reference(**given: Any) -> Outputs:
    return (reference.steer(**given),)


def _row(kind: int, vocab: int, size: Size, source: Source) -> tuple[torch.Tensor, list[int]]:
    """Its list and its columns. Half of the sequences begin as the row of `inputs` ends; a bias is a bit pattern."""
    stops, biases, allowed = KINDS[kind]
    banned = BANNED if kind == len(KINDS) - 1 else 0
    stride = max(1, vocab // BIASES)
    biased = [(7 + i * stride) % vocab for i in range(biases)] if vocab >= biases else list(range(biases))
    before = [i % 2 for i in range(banned) for _ in range(BEFORE)]
    parts = [
        source.integers(-1, vocab, stops),
        source.given(biased),
        source.normal(biases).view(torch.int32),
        source.integers(0, vocab, allowed),
        source.integers(0, vocab, banned),
        source.given([BEFORE] * banned),
        source.given([BEFORE * i for i in range(banned)]),
        source.given(before),
    ]
    parts.append(source.given([0] * (LISTED - sum(map(len, parts)))))
    early = size.context if kind % 2 else 0
    return torch.cat(parts), [size.context // 2, early, stops, biases, allowed, banned]


def _case(shape: Shape) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        made = [_row(row % len(KINDS), shape.vocab, size, source) for row in range(size.rows)]
        tokens = source.integers(0, 2, size.rows, size.context)
        return {
            "logits": source.normal(size.rows, shape.vocab),
            "lists": torch.stack([ids for ids, _ in made]),
            "columns": source.given([value for _, columns in made for value in columns]).view(-1, kernel.COLUMNS),
            "tokens": tokens,
            "rows": source.given([-1 if row % 7 == 6 else size.rows - 1 - row for row in range(size.rows)]),
            "ends": source.integers(size.context // 2, size.context, size.rows),
        }

    def moved(a: Mapping[str, Any]) -> int:
        """Of all rows eight numbers; of those that ask their lists, and the logits that these change or keep."""
        (rows, vocab), kinds = a["logits"].shape, len(KINDS)
        each = -(-rows // kinds)
        return int(rows * 32 + each * (STOPS * 8 + BIASES * 16 + ALLOWED * 12 + vocab * 4 + BANNED * 28))

    return Case(f"steer-{shape.name}", _launch, _reference, inputs, moved)


CASES = tuple(_case(shape) for shape in SHAPES)
