"""The decoder behind Llama, Mistral, Qwen2 and Qwen3: one residual stream, updated in place by each layer."""

from functools import partial

from torch import Tensor

from services.engine.worker.layers.attention import Attention
from services.engine.worker.layers.mlp import MLP
from services.engine.worker.layers.norm import RMSNorm
from services.engine.worker.layers.ops import Attend
from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.layers.vocabulary import Vocabulary
from services.engine.worker.models.config import ModelConfig


class _Layer:
    def __init__(self, parameters: Parameters, prefix: str, config: ModelConfig, window: int | None) -> None:
        self._attention_norm = RMSNorm(parameters, f"{prefix}.input_layernorm", config.hidden_size, config.norm_eps)
        self._attention = Attention(parameters, f"{prefix}.self_attn", config, window)
        self._mlp_norm = RMSNorm(parameters, f"{prefix}.post_attention_layernorm", config.hidden_size, config.norm_eps)
        self._mlp = MLP(parameters, f"{prefix}.mlp", config)

    def update(self, x: Tensor, attend: Attend, cache: Tensor) -> None:
        self._attention.add_to(x, self._attention_norm, attend, cache)
        self._mlp.add_to(x, self._mlp_norm)


class Decoder:
    """Its weights are uninitialised until `weights.load` has filled `parameters.places`.

    Made for one rank: `config` is then what that rank has of the model (`ModelConfig.of_rank`).
    """

    def __init__(self, config: ModelConfig, parameters: Parameters) -> None:
        """`config` is the whole model's. Raises ConfigError if it cannot be split evenly over the ranks."""
        self.config = config.of_rank(parameters.group.size)
        self.parameters = parameters
        vocabulary = config.vocab_size, config.hidden_size
        self._embedding = self._head = Vocabulary(parameters, "model.embed_tokens.weight", *vocabulary)
        self._layers = [
            _Layer(parameters, f"model.layers.{index}", config, window) for index, window in enumerate(config.windows)
        ]
        self._norm = RMSNorm(parameters, "model.norm", config.hidden_size, config.norm_eps)
        if not config.tied:
            self._head = Vocabulary(parameters, "lm_head.weight", *vocabulary)
        parameters.when_loaded(partial(self._head.pack, parameters.ops, looked_up=config.tied))

    @property
    def of_loops(self) -> int:
        """Up to so many tokens `update` is calls of compiled loops and nothing else."""
        return self.parameters.ops.loops if self.parameters.group.size == 1 else 0

    def forward(self, ids: Tensor, attend: Attend, caches: list[Tensor]) -> Tensor:
        """ids [T] -> hidden states [T, H] before the last norm; `caches` holds one KV cache for each layer."""
        x = self.embed(ids)
        self.update(x, attend, caches)
        return x

    def embed(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """ids [T] -> [T, H], what the first layer gets; into `out`, if it is given."""
        return self._embedding.embed(ids, out)

    def update(self, x: Tensor, attend: Attend, caches: list[Tensor]) -> None:
        """All layers: x [T, H] becomes the hidden states."""
        for layer, cache in zip(self._layers, caches, strict=True):
            layer.update(x, attend, cache)

    def logits(self, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        """hidden [S, H] -> [S, vocab], float32; into `out`, if it is given."""
        return self._head.logits(hidden, self._norm, out)
