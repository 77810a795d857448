"""RMS norm with the weight of a checkpoint."""

from torch import Tensor

from services.engine.worker.layers.parameters import Parameters


class RMSNorm:
    """See `product.RowNorm`."""

    def __init__(self, parameters: Parameters, name: str, size: int, eps: float) -> None:
        self.weight = parameters.new(size)
        self.eps = eps
        self._norm = parameters.ops.rms_norm
        parameters.place(f"{name}.weight", self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        return self._norm(x, self.weight, self.eps)


class QKNorm:
    """Qwen3's norm over each head of queries and keys; queries share one weight, keys another. See `ops.Attend`."""

    def __init__(self, parameters: Parameters, prefix: str, heads: int, kv_heads: int, dim: int, eps: float) -> None:
        self.weight = parameters.new(heads + kv_heads, dim)
        self.eps = eps
        parameters.place(f"{prefix}.q_norm.weight", self.weight[:heads], (dim,))
        parameters.place(f"{prefix}.k_norm.weight", self.weight[heads:], (dim,))
