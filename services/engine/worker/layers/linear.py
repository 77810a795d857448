"""y = x W^T + b, with the matrices that read the same x made into one."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from services.engine.worker.layers.parameters import Parameters


class Linear:
    """Several of a checkpoint's matrices one above the other: `outputs` names them and their rows."""

    def __init__(
        self, parameters: Parameters, prefix: str, outputs: Mapping[str, int], inputs: int, bias: bool
    ) -> None:
        total, first = sum(outputs.values()), 0
        self._weight = parameters.new(total, inputs)
        self._bias = parameters.new(total) if bias else None
        self._transposed = self._weight.t()
        for name, rows in outputs.items():
            parameters.place(f"{prefix}.{name}.weight", self._weight[first : first + rows])
            if self._bias is not None:
                parameters.place(f"{prefix}.{name}.bias", self._bias[first : first + rows])
            first += rows

    def __call__(self, x: Tensor) -> Tensor:
        """x [T, inputs] -> [T, outputs]."""
        return functional.linear(x, self._weight, self._bias)

    def add_to(self, residual: Tensor, x: Tensor) -> None:
        """residual [T, outputs] += W x + b, in one operator where there is no bias."""
        residual.addmm_(x, self._transposed)
        if self._bias is not None:
            residual.add_(self._bias)
