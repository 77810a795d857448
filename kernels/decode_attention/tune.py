"""Which tiling, and how many programs for each SM, a card likes best: a bounded grid, measured."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from triton.runtime.errors import OutOfResources

from kernels._bench import RUNS, Measurement, Roofs, measure
from kernels._case import FULL, Case, Size, Source
from kernels.decode_attention.cases import cut
from kernels.decode_attention.kernel import Tiling

GRID = tuple(Tiling(*each) for each in product((32, 64, 128), (4, 8), (3, 5)))
PER_SM = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Trial:
    tiling: Tiling
    per_sm: int
    measured: Measurement | None  # None: does not fit into the card

    def __str__(self) -> str:
        keys, warps, stages = self.tiling
        return f"{keys:4} keys {warps} warps {stages} stages {self.per_sm} per SM  {self.measured or 'does not fit'}"


def trials(
    case: Case,
    device: torch.device,
    roofs: Roofs,
    sms: int,
    *,
    size: Size = FULL,
    runs: int = RUNS,
    grid: Iterable[Tiling] = GRID,
    per_sm: Iterable[int] = PER_SM,
) -> Iterator[Trial]:
    """One for each of `grid` and `per_sm`, as they are measured."""
    for tiling, side_by_side in product(grid, per_sm):
        try:
            measured: Measurement | None = measure(
                _cut(case, tiling, side_by_side * sms), device, roofs, size=size, runs=runs
            )
        except OutOfResources:
            measured = None
        yield Trial(tiling, side_by_side, measured)


def _cut(case: Case, tiling: Tiling, programs: int) -> Case:
    """The same case with so many programs in all."""

    def inputs(size: Size, source: Source) -> dict[str, Any]:
        given = case.inputs(size, source)
        return cut(given, max(1, programs // given["cache"].shape[3]), tiling)

    return replace(case, inputs=inputs)
