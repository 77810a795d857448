"""y = x W^T + b, with the matrices that read the same x made into one, and each rank's part of them."""

from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial

from torch import Tensor

from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.layers.product import Product, RowNorm


class Split(Enum):
    """What of a matrix a rank has."""

    OUTPUTS = "outputs"  # rows of it: it computes its part of y from all of x
    INPUTS = "inputs"  # columns of it: it computes a summand of all of y from its part of x


class Linear:
    """Several of a checkpoint's matrices one above the other: `outputs` names them and their rows, over all ranks."""

    def __init__(
        self,
        parameters: Parameters,
        prefix: str,
        outputs: Mapping[str, int],
        inputs: int,
        bias: bool,
        split: Split,
        *,
        gated: bool = False,
    ) -> None:
        """With a gate the first half of the outputs are gates of the second, which alone is left."""
        self._group = group = parameters.group
        split_rows = split is Split.OUTPUTS
        divisor = group.size if split_rows else 1
        columns = inputs if split_rows else inputs // group.size
        weight = parameters.new(sum(outputs.values()) // divisor, columns)
        biases = parameters.new(len(weight)) if bias else None
        self._adds = split_rows or group.rank == 0  # of a sum, one rank's summand has the bias and what was there
        self._product: Product
        kind = parameters.ops.gated if gated else parameters.ops.product
        parameters.when_loaded(partial(self._settle, kind, weight, biases if self._adds else None))
        first = 0
        for name, size in outputs.items():
            rows = size // divisor
            part = slice(first, first + rows)
            at = group.rank * rows if split_rows else 0
            if split_rows:
                parameters.place_part(f"{prefix}.{name}.weight", weight[part], 0, size, at)
            else:
                parameters.place_part(f"{prefix}.{name}.weight", weight[part], 1, inputs, group.rank * columns)
            if biases is not None:
                parameters.place_part(f"{prefix}.{name}.bias", biases[part], 0, size, at)
            first += rows

    def __call__(self, x: Tensor, norm: RowNorm) -> Tensor:
        """x [T, inputs], normed -> [T, outputs of this rank]; for matrices split by outputs."""
        return self._product(x, norm)

    def add_to(self, residual: Tensor, x: Tensor) -> None:
        """residual [T, outputs] += W x + b, for matrices split by inputs: x is this rank's part of it."""
        self._product.into(residual, x, adds=self._adds)
        self._group.sum_(residual)

    def _settle(self, kind: Callable[[Tensor, Tensor | None], Product], weight: Tensor, bias: Tensor | None) -> None:
        self._product = kind(weight, bias)
