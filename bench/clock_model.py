"""A checkpoint whose words are numbers, for engines with `--device sim --sim-words clock`: no weights, 65,536 words.

A word is one token and reads " 00000" to " 65535". At 250 us a tick they begin again after 16 seconds.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WORDS = 1 << 16
END = "<end>"  # its id is WORDS
CONTEXT = 4096
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "dtype": "bfloat16",
    "eos_token_id": WORDS,
    "head_dim": 64,
    "hidden_size": 256,
    "intermediate_size": 768,
    "max_position_embeddings": CONTEXT,
    "num_attention_heads": 4,
    "num_hidden_layers": 6,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "vocab_size": WORDS + 1,
}


def build(folder: Path) -> Path:
    """Write it into `folder`, which is made; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({f"Ġ{word:05}": word for word in range(WORDS)}, unk_token="Ġ00000"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END, special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    return folder
