"""What a checkpoint's config.json means for our decoder; anything the decoder cannot do is refused here, by name.

Written for what transformers 5 writes (`rope_parameters`, `dtype`) and what older checkpoints have (`rope_theta`,
`rope_scaling`, `torch_dtype`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shared.errors import ConfigError

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
ROPES = ("default", "linear", "llama3")


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeConfig:
    """How position becomes angle. `kind` is one of ROPES; the last four matter to the scaled kinds only."""

    theta: float
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position: int = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A pre-norm decoder with grouped-query attention, rotary positions and a SiLU-gated feed-forward."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    max_model_len: int
    rope: RopeConfig
    windows: tuple[int | None, ...]  # of each layer: positions a query sees, itself among them; None is all
    tied: bool  # the output matrix is the embedding
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    dtype: str  # of the checkpoint

    @property
    def num_layers(self) -> int:
        return len(self.windows)

    @property
    def num_parameters(self) -> int:
        """Within a thousandth: norms and biases are left out."""
        attention = self.hidden_size * self.head_dim * 2 * (self.num_heads + self.num_kv_heads)
        layer = attention + 3 * self.hidden_size * self.intermediate_size
        return self.num_layers * layer + (1 if self.tied else 2) * self.vocab_size * self.hidden_size

    def of_rank(self, ranks: int) -> "ModelConfig":
        """What each of `ranks` has: its heads and its part of the feed-forward. The rest is as it was.

        Raises ConfigError if they do not come out even.
        """
        for name in ("num_heads", "num_kv_heads", "intermediate_size"):
            if getattr(self, name) % ranks:
                raise ConfigError(
                    f"--tensor-parallel {ranks} does not divide the model's {name}, {getattr(self, name)}"
                )
        return replace(
            self,
            num_heads=self.num_heads // ranks,
            num_kv_heads=self.num_kv_heads // ranks,
            intermediate_size=self.intermediate_size // ranks,
        )


def model_config(config: Mapping[str, Any]) -> ModelConfig:
    """From the object in config.json. Raises ConfigError that names what is not supported and what is."""
    family = _family(config)
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "unknown")
        raise _unsupported("quantization_config", method, ("float32 and bfloat16 weights",))
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise _unsupported("hidden_act", activation, ("silu",))
    heads, hidden = _size(config, "num_attention_heads"), _size(config, "hidden_size")
    kv_heads = config.get("num_key_value_heads") or heads
    if heads % kv_heads:
        raise ConfigError(f"model: {heads} attention heads cannot share {kv_heads} KV heads evenly")
    bias = bool(config.get("attention_bias", False))
    return ModelConfig(
        architecture=family,
        vocab_size=_size(config, "vocab_size"),
        hidden_size=hidden,
        intermediate_size=_size(config, "intermediate_size"),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=config.get("head_dim") or (128 if family == "qwen3" else hidden // heads),  # as transformers has it
        norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        max_model_len=_size(config, "max_position_embeddings"),
        rope=_rope(config),
        windows=_windows(family, config),
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=family == "qwen2" or (family in ("llama", "qwen3") and bias),
        output_bias=family in ("llama", "qwen3") and bias,
        mlp_bias=family == "llama" and bool(config.get("mlp_bias", False)),
        qk_norm=family == "qwen3",
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "float32"),
    )


def _family(config: Mapping[str, Any]) -> str:
    named = config.get("architectures") or []
    for architecture in named:
        if architecture in ARCHITECTURES:
            return ARCHITECTURES[architecture]
    if not named and config.get("model_type") in ARCHITECTURES.values():
        return str(config["model_type"])
    raise _unsupported("architectures", named or config.get("model_type"), tuple(ARCHITECTURES))


def _windows(family: str, config: Mapping[str, Any]) -> tuple[int | None, ...]:
    """Mistral's window holds in every layer; Qwen's only if `use_sliding_window`, and then in the layers it names."""
    layers, window = _size(config, "num_hidden_layers"), config.get("sliding_window")
    if family == "llama" or window is None or (family != "mistral" and not config.get("use_sliding_window", False)):
        return (None,) * layers
    if family == "mistral":
        return (int(window),) * layers
    kinds = config.get("layer_types")
    if kinds is None:
        full = config.get("max_window_layers", 28)  # Qwen's own default
        kinds = ["full_attention" if layer < full else "sliding_attention" for layer in range(layers)]
    allowed = ("full_attention", "sliding_attention")
    if unknown := sorted(set(kinds) - set(allowed)):
        raise _unsupported("layer_types", ", ".join(unknown), allowed)
    if len(kinds) != layers:
        raise ConfigError(f"model: layer_types names {len(kinds)} layers, num_hidden_layers is {layers}")
    return tuple(int(window) if kind == "sliding_attention" else None for kind in kinds)


def _rope(config: Mapping[str, Any]) -> RopeConfig:
    given = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind not in ROPES:
        raise _unsupported("rope_type", kind, ROPES)
    if given.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) != 1.0:
        raise _unsupported("partial_rotary_factor", given.get("partial_rotary_factor"), (1.0,))
    return RopeConfig(
        theta=float(given.get("rope_theta") or config.get("rope_theta") or 10_000.0),
        kind=kind,
        factor=float(given.get("factor") or 1.0),
        low_freq_factor=float(given.get("low_freq_factor") or 1.0),
        high_freq_factor=float(given.get("high_freq_factor") or 4.0),
        original_max_position=int(
            given.get("original_max_position_embeddings") or _size(config, "max_position_embeddings")
        ),
    )


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"model: {key} in config.json must be a positive number, not {value!r}")
    return value


def _unsupported(key: str, value: object, supported: tuple[object, ...]) -> ConfigError:
    return ConfigError(f"model: {key} {value!r} is not supported; supported: {', '.join(map(str, supported))}")
