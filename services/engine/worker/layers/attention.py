"""Self-attention over the paged cache."""

from dataclasses import dataclass

from torch import Tensor

from kernels.paged_attention import PagedAttention, write_kv
from kernels.rope import rope_
from services.engine.worker.layers.linear import Linear
from services.engine.worker.layers.norm import QKNorm
from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Positions:
    """Where the T tokens of a step stand; the same for every layer."""

    rope: Tensor  # [T, 2, D]: rows of `rope_table`
    slots: Tensor  # [T] int64: where their keys and values go
    attend: PagedAttention


class Attention:
    def __init__(self, parameters: Parameters, prefix: str, config: ModelConfig, window: int | None) -> None:
        self._heads, self._kv_heads, self._dim = config.num_heads, config.num_kv_heads, config.head_dim
        self._window = window
        query, key = self._heads * self._dim, self._kv_heads * self._dim
        outputs = {"q_proj": query, "k_proj": key, "v_proj": key}
        self._qkv = Linear(parameters, prefix, outputs, config.hidden_size, config.qkv_bias)
        self._out = Linear(parameters, prefix, {"o_proj": config.hidden_size}, query, config.output_bias)
        self._norm = None
        if config.qk_norm:
            self._norm = QKNorm(parameters, prefix, self._heads, self._kv_heads, self._dim, config.norm_eps)

    def add_to(self, residual: Tensor, x: Tensor, positions: Positions, cache: Tensor) -> None:
        """residual [T, H] += attention of x [T, H]; keys and values of x are in the cache afterwards."""
        qkv = self._qkv(x)
        heads = qkv.view(x.shape[0], -1, self._dim)  # queries, keys, values
        qk = heads[:, : self._heads + self._kv_heads]
        if self._norm is not None:
            qk.copy_(self._norm(qk))
        rope_(qk, positions.rope)
        write_kv(cache, positions.slots, qkv[:, self._heads * self._dim :])
        self._out.add_to(residual, positions.attend(qk[:, : self._heads], cache, self._window))
