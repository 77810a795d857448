"""A configuration of a kernel: the one list that tests, the check ahead of time and the benchmarks all go through.

Each op's `cases.py` has CASES. A case makes its launcher's arguments at any size: small ones for the interpreter, the
real ones on the meta device to compile for, the real ones on a GPU to measure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]
ARCHS = (80, 90, 100)


@dataclass(frozen=True, slots=True)
class Size:
    """Rows of the batch, and how many tokens each of them has (the longest, where they differ)."""

    rows: int
    context: int


FULL = Size(256, 1100)  # the steady state of the 256-request workload


class Source:
    """Makes tensors on one device, random by a seed; on the meta device they have a shape only."""

    def __init__(self, device: torch.device, seed: int = 0) -> None:
        self.device = device
        self._generator = None if device.type == "meta" else torch.Generator(device).manual_seed(seed)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self.device).to(dtype)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """int32 in [low, high)."""
        return torch.randint(low, high, shape, generator=self._generator, device=self.device, dtype=torch.int32)

    def shuffled(self, count: int) -> Tensor:
        """[count] int32: a permutation."""
        if self.device.type == "meta":
            return torch.empty(count, dtype=torch.int32, device=self.device)
        return torch.randperm(count, generator=self._generator, device=self.device).to(torch.int32)

    def given(self, values: list[int]) -> Tensor:
        """int32."""
        return torch.tensor(values, dtype=torch.int32, device=self.device)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    launch: Callable[..., Outputs]
    reference: Callable[..., Outputs]  # the same arguments, those of floating point in float64
    inputs: Callable[[Size, Source], dict[str, Any]]
    moved: Callable[[Mapping[str, Any]], int]  # bytes that must cross the memory bus at least
    flops: Callable[[Mapping[str, Any]], int] | None = None  # where arithmetic is the roof
    archs: tuple[int, ...] = ARCHS  # that it is used on


def nbytes(*tensors: Tensor) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def ragged(size: Size) -> list[int]:
    """One length for each row, 1/10 to all of `context`, spread evenly and without order."""
    low = max(1, size.context // 10)
    return [low + (row * 7919) % (size.context - low + 1) for row in range(size.rows)]
