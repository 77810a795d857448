"""The configurations of row_update: the step that brings all rows anew, and the step that only goes on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kernels._case import Case, Outputs, Size, Source, ragged
from kernels.row_update import kernel, reference
from kernels.row_update.kernel import Sizes

HEADER, COLUMNS, LISTED, BLOCK = 16, 18, 8, 16
OUTPUTS = ("tokens", "tables", "parameters", "lists", "rows", "starts", "counts", "sampled")


def _outputs(given: dict[str, Any]) -> Outputs:
    return tuple(given[name] for name in OUTPUTS)


def _launch(**given: Any) -> Outputs:
    kernel.row_update(**given)
    return _outputs(given)


def _reference(**given: Any) -> Outputs:
    reference.row_update(**given)
    return _outputs(given)


def _block(size: Size, source: Source, added: int, draws: int) -> tuple[Tensor, Sizes]:
    """Rows in falling order; each brings its ids, some numbers in its list, and either all of its blocks or one."""
    rows, lengths = list(range(size.rows))[::-1], ragged(size)[:added]
    width = -(-size.context // BLOCK)
    listed = [row % (LISTED + 1) for row in rows[:added]]
    columns = [[row, n, k, n // 2, *[0] * (COLUMNS - 4)] for row, n, k in zip(rows, lengths, listed, strict=False)]
    places = [row * width + i for row in rows for i in range(width if row in rows[:added] else 1)]
    sizes = Sizes(HEADER, added, sum(lengths), sum(listed), len(places), size.rows, draws)
    parts = [
        source.given([0] * HEADER),
        source.given([value for row in columns for value in row]),
        source.integers(0, 1 << 16, sizes.tokens + sizes.listed),
        source.given(places),
        source.integers(0, 1 << 16, len(places)),
        source.given(rows),
        source.integers(0, size.context, size.rows),
        source.integers(1, size.context + 1, size.rows),
        source.given(list(range(draws))),
    ]
    return torch.cat(parts), sizes


def _case(name: str, added: Callable[[int], int], padding: int) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        block, sizes = _block(size, source, added(size.rows), size.rows)
        width, padded = -(-size.context // BLOCK), size.rows + padding
        return {
            "block": block,
            "tokens": source.integers(0, 9, size.rows, size.context + 1),
            "tables": source.integers(0, 9, size.rows, width),
            "parameters": source.integers(0, 9, size.rows, COLUMNS),
            "lists": source.integers(0, 9, size.rows, LISTED),
            **{part: source.integers(0, 9, padded) for part in ("rows", "starts", "counts", "sampled")},
            "sizes": sizes,
        }

    def moved(a: Mapping[str, Any]) -> int:
        """The block read, its parts written."""
        return int(a["block"].numel()) * 8

    return Case(f"row_update-{name}", _launch, _reference, inputs, moved)


CASES = (
    _case("all-new", lambda rows: rows, 0),
    _case("some-new", lambda rows: rows // 3, 5),
    _case("decode", lambda rows: 0, 64),
)
