"""The two models of the comparison: Qwen3 with random weights in bfloat16, and a tokenizer of exactly 8,192 ids.

Random weights cost what trained ones cost. What is drawn from them is noise, so that bytes which are no UTF-8 occur
far more often than in any text: both systems hold such bytes back, and both send a little less than a frame a token.
"""

import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from tools.checkpoints import ROOT, byte_level, for_transformers

VOCABULARY = 8192
MAX_LENGTH = 4096  # tokens of prompt and output together
CACHE = ROOT / ".run" / "bench-models"
SIZES = {
    "6m": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 768},
    "89m": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 2304},
}


def cached(name: str, cache: Path = CACHE) -> Path:
    """Where the model `name` (a key of SIZES) lies; it is built where it does not lie yet."""
    folder = cache / name
    if not folder.exists():
        fresh = folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        build(name, fresh)
        fresh.rename(folder)
    return folder


def build(name: str, folder: Path, seed: int = 0) -> None:
    """Write a whole checkpoint; the same seed and sources always give the same."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(_config(name)).to(torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0)
    model.save_pretrained(folder)
    for_transformers(tokenizer(_texts())).save_pretrained(folder)


def tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Byte-level BPE of exactly VOCABULARY ids: what few texts do not yield is filled up with words of random letters,
    which come back as the same ids when they are read again."""
    made = byte_level(texts, VOCABULARY)
    dice = random.Random(VOCABULARY)
    while (missing := VOCABULARY - made.get_vocab_size()) > 0:
        made.add_tokens(["".join(dice.choices("bcdfghjklmnpqrstvwxz", k=8)) for _ in range(missing)])
    return made


def _config(name: str) -> Qwen3Config:
    return Qwen3Config(
        **SIZES[name],
        vocab_size=VOCABULARY,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )


def _texts() -> Iterable[str]:
    """The repository's own texts and sources."""
    paths = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("services/**/*.py"),
        *ROOT.glob("tests/**/*.py"),
    ]
    return (path.read_text("utf-8") for path in sorted(paths))
