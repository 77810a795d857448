"""Where each tensor of a checkpoint goes: names of Hugging Face to places in our fused weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from services.engine.worker.layers.ops import Ops


@dataclass(frozen=True, slots=True)
class Place:
    """`target.copy_(tensor)` for a tensor of this shape; the target may be a part of a larger weight."""

    target: Tensor
    shape: tuple[int, ...]


class Parameters:
    """Makes the weights of a model, all on one device in one dtype, and remembers by which names they are filled.

    `ops` is what the layers that are made with these weights compute with.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, ops: Ops) -> None:
        self.device = device
        self.dtype = dtype
        self.ops = ops
        self.places: dict[str, Place] = {}

    def new(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.device, dtype=self.dtype)

    def place(self, name: str, target: Tensor, shape: tuple[int, ...] | None = None) -> None:
        """The tensor `name` goes to `target`, repeated along its first dimensions if `shape` is smaller."""
        self.places[name] = Place(target, tuple(target.shape) if shape is None else shape)
