"""Where each tensor of a checkpoint goes: names of Hugging Face to places in our fused weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from services.engine.worker.group import Group
from services.engine.worker.layers.ops import Ops


@dataclass(frozen=True, slots=True)
class Place:
    """`target.copy_(tensor[part])` for a tensor of this shape; the target may be a part of a larger weight."""

    target: Tensor
    shape: tuple[int, ...]
    part: tuple[slice, ...]


class Parameters:
    """Makes one rank's weights, all on one device in one dtype, and remembers by which names they are filled.

    `ops` is what the layers that are made with these weights compute with, `group` with whom.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, ops: Ops, group: Group) -> None:
        self.device = device
        self.dtype = dtype
        self.ops = ops
        self.group = group
        self.places: dict[str, Place] = {}
        self._waiting: list[Callable[[], None]] = []

    def new(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.device, dtype=self.dtype)

    def when_loaded(self, job: Callable[[], None]) -> None:
        """Remember what is to be done once all weights have their values."""
        self._waiting.append(job)

    def loaded(self) -> None:
        """Every place has been filled and none is filled again."""
        self.places.clear()
        while self._waiting:
            self._waiting.pop()()

    def place(self, name: str, target: Tensor, shape: tuple[int, ...] | None = None) -> None:
        """All of the tensor `name` goes to `target`, repeated along its first dimensions if `shape` is smaller."""
        shape = tuple(target.shape) if shape is None else shape
        self.places[name] = Place(target, shape, tuple(slice(0, size) for size in shape))

    def place_part(self, name: str, target: Tensor, dim: int, total: int, first: int) -> None:
        """[first, first + n) of the tensor's `total` along `dim` go to `target`, which has n there."""
        shape = [*target.shape]
        part = [slice(0, size) for size in shape]
        shape[dim], part[dim] = total, slice(first, first + shape[dim])
        self.places[name] = Place(target, tuple(shape), tuple(part))
