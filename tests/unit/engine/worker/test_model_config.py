"""What config.json means to us, and what we refuse to guess."""

from typing import Any

import pytest

from services.engine.worker.models.config import RopeConfig, model_config
from shared.errors import ConfigError

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "vocab_size": 100,
    "max_position_embeddings": 512,
}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256}
QWEN2 = LLAMA | {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 32}


def test_old_and_new_ways_to_write_rope_mean_the_same() -> None:
    """transformers 5 writes rope_parameters; before it was rope_theta and rope_scaling, with `type` or `rope_type`."""
    expected = RopeConfig(theta=5e5, kind="llama3", factor=8.0, original_max_position=256)
    new = LLAMA | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5} | LLAMA3}
    old = LLAMA | {"rope_theta": 5e5, "rope_scaling": {"type": "llama3"} | LLAMA3}
    assert model_config(new).rope == model_config(old).rope == expected
    assert model_config(LLAMA).rope == RopeConfig(theta=10_000.0, original_max_position=512)
    assert model_config(LLAMA | {"rope_scaling": None, "rope_theta": 7.0}).rope.theta == 7.0


def test_what_is_left_out_has_the_meaning_it_has_in_transformers() -> None:
    """Head size, KV heads and dtype; Qwen3's head size does not follow from its width."""
    config = model_config(LLAMA)
    assert (config.num_kv_heads, config.head_dim, config.dtype, config.tied) == (4, 16, "float32", False)
    assert model_config(LLAMA | {"head_dim": None}).head_dim == 16
    assert model_config(LLAMA | {"architectures": ["Qwen3ForCausalLM"]}).head_dim == 128
    assert model_config(LLAMA | {"torch_dtype": "bfloat16"}).dtype == "bfloat16"
    assert model_config({**LLAMA, "architectures": None}).architecture == "llama"


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({}, (None,) * 4),  # the window is there, but not used
        ({"use_sliding_window": True, "max_window_layers": 3}, (None, None, None, 32)),
        ({"use_sliding_window": True, "max_window_layers": 28}, (None,) * 4),
        (
            {"use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"] * 2},
            (32, None, 32, None),
        ),
        ({"architectures": ["MistralForCausalLM"]}, (32,) * 4),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": None}, (None,) * 4),
        ({"architectures": ["LlamaForCausalLM"]}, (None,) * 4),
    ],
)
def test_each_family_has_its_own_rule_for_windows(changes: dict[str, Any], windows: tuple[int | None, ...]) -> None:
    """Mistral's holds everywhere; Qwen's must be switched on and holds in the layers it names."""
    assert model_config(QWEN2 | changes).windows == windows


def test_biases_are_where_each_family_has_them() -> None:
    """(queries keys values, output, feed-forward)."""

    def biases(name: str, **changes: bool) -> tuple[bool, bool, bool]:
        config = model_config(LLAMA | {"architectures": [name]} | changes)
        return config.qkv_bias, config.output_bias, config.mlp_bias

    assert biases("LlamaForCausalLM") == (False, False, False)
    assert biases("LlamaForCausalLM", attention_bias=True, mlp_bias=True) == (True, True, True)
    assert biases("Qwen2ForCausalLM") == (True, False, False)
    assert biases("Qwen3ForCausalLM", attention_bias=True) == (True, True, False)
    assert biases("MistralForCausalLM", attention_bias=True) == (False, False, False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel.*supported: LlamaForCausalLM, Mistral"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"architectures": None, "model_type": "mamba"}, "mamba"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config 'gptq'"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported; supported: silu"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type 'yarn'.*default, linear, llama3"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"num_key_value_heads": 3}, "4 attention heads cannot share 3"),
        ({"vocab_size": None}, "vocab_size"),
        (QWEN2 | {"use_sliding_window": True, "layer_types": ["chunked_attention"] * 4}, "chunked_attention"),
        (QWEN2 | {"use_sliding_window": True, "layer_types": ["full_attention"]}, "names 1 layers"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    """The message names the field, its value, and what would be taken."""
    with pytest.raises(ConfigError, match=words):
        model_config(LLAMA | changes)


def test_parameters_are_counted_nearly_enough() -> None:
    """Llama 3.2's 1B: 1,235,814,400 by its authors' count."""
    shape = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8}
    config = LLAMA | shape | {"num_hidden_layers": 16, "vocab_size": 128_256, "tie_word_embeddings": True}
    assert abs(model_config(config).num_parameters / 1_235_814_400 - 1) < 1e-3
