"""y = x W^T + b, with the matrices that read the same x made into one, and each rank's part of them."""

from collections.abc import Mapping
from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional

from services.engine.worker.layers.parameters import Parameters


class Split(Enum):
    """What of a matrix a rank has."""

    OUTPUTS = "outputs"  # rows of it: it computes its part of y from all of x
    INPUTS = "inputs"  # columns of it: it computes a summand of all of y from its part of x


class Linear:
    """Several of a checkpoint's matrices one above the other: `outputs` names them and their rows, over all ranks."""

    def __init__(
        self, parameters: Parameters, prefix: str, outputs: Mapping[str, int], inputs: int, bias: bool, split: Split
    ) -> None:
        self._group = group = parameters.group
        split_rows = split is Split.OUTPUTS
        divisor = group.size if split_rows else 1
        columns = inputs if split_rows else inputs // group.size
        self._weight = parameters.new(sum(outputs.values()) // divisor, columns)
        self._transposed = self._weight.t()
        self._bias = parameters.new(len(self._weight)) if bias else None
        self._adds = split_rows or group.rank == 0  # of a sum, one rank's summand has the bias and what was there
        first = 0
        for name, size in outputs.items():
            rows = size // divisor
            part = slice(first, first + rows)
            at = group.rank * rows if split_rows else 0
            if split_rows:
                parameters.place_part(f"{prefix}.{name}.weight", self._weight[part], 0, size, at)
            else:
                parameters.place_part(f"{prefix}.{name}.weight", self._weight[part], 1, inputs, group.rank * columns)
            if self._bias is not None:
                parameters.place_part(f"{prefix}.{name}.bias", self._bias[part], 0, size, at)
            first += rows

    def __call__(self, x: Tensor) -> Tensor:
        """x [T, inputs] -> [T, outputs of this rank]; for matrices split by outputs."""
        return functional.linear(x, self._weight, self._bias)

    def add_to(self, residual: Tensor, x: Tensor) -> None:
        """residual [T, outputs] += W x + b, for matrices split by inputs: x is this rank's part of it."""
        if not self._adds:
            torch.mm(x, self._transposed, out=residual)
        else:
            residual.addmm_(x, self._transposed)  # one operator where there is no bias
            if self._bias is not None:
                residual.add_(self._bias)
        self._group.sum_(residual)
