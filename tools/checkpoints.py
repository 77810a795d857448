"""Tiny checkpoints in Hugging Face format, each a whole one: config, weights, tokenizer, chat template.

The weights are random but loud, so that the best token leads by more than rounding; norms and biases, which
transformers initialises to one and zero, are random too, or a decoder that forgot them would pass.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY = 1024
MAX_LENGTH = 1024
END, TURN_END = "<|endoftext|>", "<|im_end|>"  # ids 0 and 1
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_LENGTH,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def _llama() -> PreTrainedModel:
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128}
    rope = {"rope_type": "llama3", "rope_theta": 10_000.0, **scaling}
    return LlamaForCausalLM(LlamaConfig(**_SIZES, rope_parameters=rope, tie_word_embeddings=False))


def _llama_biased() -> PreTrainedModel:
    rope = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
    return LlamaForCausalLM(LlamaConfig(**_SIZES, rope_parameters=rope, attention_bias=True, mlp_bias=True))


def _mistral() -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**_SIZES, head_dim=24, sliding_window=64))


def _qwen2() -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**_SIZES, use_sliding_window=True, sliding_window=96, max_window_layers=2))


def _qwen3() -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config(**_SIZES, head_dim=32, tie_word_embeddings=True))


def _bfloat16() -> PreTrainedModel:
    return _llama().to(torch.bfloat16)


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": _llama,
    "llama-biased": _llama_biased,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "sharded": _qwen3,
    "bfloat16": _bfloat16,
}


def build(kind: str, folder: Path, seed: int = 0) -> Path:
    """Write the checkpoint `kind` (a key of MODELS) into `folder` and return it; a seed always gives the same."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS[kind]()
        for name, weight in model.named_parameters():
            _fill(name, weight.data)
    model.generation_config = GenerationConfig(eos_token_id=[1, 0], pad_token_id=0)
    model.save_pretrained(folder, max_shard_size="150KB" if kind == "sharded" else "5GB")
    _tokenizer().save_pretrained(folder)
    return folder


def _fill(name: str, weight: torch.Tensor) -> None:
    if name.endswith("bias"):
        weight.normal_(0, 0.3)
    elif weight.dim() == 1:
        weight.normal_(1, 0.3)
    elif "embed_tokens" in name:
        weight.normal_(0, 0.3)  # quieter than what the layers add, or a tied model would repeat its input
    else:
        weight.normal_(0, 2.0 / weight.shape[1] ** 0.5)


def _tokenizer() -> PreTrainedTokenizerFast:
    """Trained on what this repository says of itself."""
    texts = [path.read_text("utf-8") for path in sorted(ROOT.glob("*.md"))]
    return for_transformers(byte_level([*texts, __doc__ or ""], VOCABULARY))


def byte_level(texts: Iterable[str], most: int) -> Tokenizer:
    """Byte-level BPE of at most so many entries, trained on the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=most,
        special_tokens=[END, TURN_END, "<|im_start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def for_transformers(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END,
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
