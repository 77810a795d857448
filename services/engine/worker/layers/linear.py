"""y = x W^T + b, with the matrices that read the same x made into one, and each rank's part of them."""

from collections.abc import Mapping
from enum import Enum
from functools import partial

from torch import Tensor

from services.engine.worker.layers.ops import Ops
from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.layers.product import Plain, Product


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
        weight = parameters.new(sum(outputs.values()) // divisor, columns)
        self._product: Product = Plain(weight)
        parameters.when_loaded(partial(self._settle, weight, parameters.ops))
        self._bias = parameters.new(len(weight)) if bias else None
        self._adds = split_rows or group.rank == 0  # of a sum, one rank's summand has the bias and what was there
        first = 0
        for name, size in outputs.items():
            rows = size // divisor
            part = slice(first, first + rows)
            at = group.rank * rows if split_rows else 0
            if split_rows:
                parameters.place_part(f"{prefix}.{name}.weight", weight[part], 0, size, at)
            else:
                parameters.place_part(f"{prefix}.{name}.weight", weight[part], 1, inputs, group.rank * columns)
            if self._bias is not None:
                parameters.place_part(f"{prefix}.{name}.bias", self._bias[part], 0, size, at)
            first += rows

    def __call__(self, x: Tensor) -> Tensor:
        """x [T, inputs] -> [T, outputs of this rank]; for matrices split by outputs."""
        return self._product(x, self._bias)

    def add_to(self, residual: Tensor, x: Tensor) -> None:
        """residual [T, outputs] += W x + b, for matrices split by inputs: x is this rank's part of it."""
        self._product.into(residual, x, adds=self._adds)
        if self._adds and self._bias is not None:
            residual.add_(self._bias)
        self._group.sum_(residual)

    def _settle(self, weight: Tensor, ops: Ops) -> None:
        self._product = ops.product(weight)
