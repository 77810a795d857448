"""Self-attention over the paged cache."""

from torch import Tensor

from services.engine.worker.layers.linear import Linear, Split
from services.engine.worker.layers.norm import QKNorm
from services.engine.worker.layers.ops import Attend
from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.layers.product import RowNorm
from services.engine.worker.models.config import ModelConfig


class Attention:
    def __init__(self, parameters: Parameters, prefix: str, config: ModelConfig, window: int | None) -> None:
        heads, kv_heads, dim = config.num_heads, config.num_kv_heads, config.head_dim
        self._window = window
        query, key = heads * dim, kv_heads * dim
        outputs = {"q_proj": query, "k_proj": key, "v_proj": key}
        self._qkv = Linear(parameters, prefix, outputs, config.hidden_size, config.qkv_bias, Split.OUTPUTS)
        self._out = Linear(parameters, prefix, {"o_proj": config.hidden_size}, query, config.output_bias, Split.INPUTS)
        ranks = parameters.group.size
        self._norm = None
        if config.qk_norm:
            self._norm = QKNorm(parameters, prefix, heads // ranks, kv_heads // ranks, dim, config.norm_eps)

    def add_to(self, residual: Tensor, norm: RowNorm, attend: Attend, cache: Tensor) -> None:
        """residual [T, H] += attention of its norm; keys and values are in the cache afterwards."""
        self._out.add_to(residual, attend(self._qkv(residual, norm), cache, self._norm, self._window))
