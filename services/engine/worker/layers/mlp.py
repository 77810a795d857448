"""The gated feed-forward: down(silu(gate(x)) * up(x))."""

from torch import Tensor

from services.engine.worker.layers.linear import Linear, Split
from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.layers.product import RowNorm
from services.engine.worker.models.config import ModelConfig


class MLP:
    def __init__(self, parameters: Parameters, prefix: str, config: ModelConfig) -> None:
        inner = config.intermediate_size
        hidden, outputs = config.hidden_size, {"gate_proj": inner, "up_proj": inner}
        self._gate_up = Linear(parameters, prefix, outputs, hidden, config.mlp_bias, Split.OUTPUTS, gated=True)
        self._down = Linear(parameters, prefix, {"down_proj": hidden}, inner, config.mlp_bias, Split.INPUTS)

    def add_to(self, residual: Tensor, norm: RowNorm) -> None:
        """residual [T, H] += the feed-forward of its norm."""
        self._down.add_to(residual, self._gate_up(residual, norm))
