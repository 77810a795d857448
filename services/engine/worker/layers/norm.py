"""RMS norm with the weight of a checkpoint."""

from torch import Tensor

from kernels.rms_norm import rms_norm
from services.engine.worker.layers.parameters import Parameters


class RMSNorm:
    def __init__(self, parameters: Parameters, name: str, size: int, eps: float) -> None:
        self._weight = parameters.new(size)
        self._eps = eps
        parameters.place(f"{name}.weight", self._weight)

    def __call__(self, x: Tensor) -> Tensor:
        return rms_norm(x, self._weight, self._eps)


class QKNorm:
    """Qwen3's norm over each head of queries and keys at once; queries share one weight, keys another."""

    def __init__(self, parameters: Parameters, prefix: str, heads: int, kv_heads: int, dim: int, eps: float) -> None:
        self._weight = parameters.new(heads + kv_heads, dim)
        self._eps = eps
        parameters.place(f"{prefix}.q_norm.weight", self._weight[:heads], (dim,))
        parameters.place(f"{prefix}.k_norm.weight", self._weight[heads:], (dim,))

    def __call__(self, qk: Tensor) -> Tensor:
        """qk [T, heads + kv_heads, D] -> the same shape, new."""
        return rms_norm(qk, self._weight, self._eps)
