"""The model's own byte-level BPE tokenizer: every text goes in and comes out unchanged, digits stand alone."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.demo_model.document import CHAT_TEMPLATE, END_OF_TEXT, SPECIAL_TOKENS, TURN_END, TURN_START, Document

VOCABULARY = 3072
MAX_LENGTH = 2048


def train(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of exactly VOCABULARY entries: three special tokens, the 256 bytes, then merges.

    Raises:
        ValueError: the texts have too few different words for that many entries.
    """
    tokenizer = Tokenizer(models.BPE())
    # Digits apart, so that a sum is read digit by digit and 17 is never one opaque symbol.
    digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(f"the corpus yields {tokenizer.get_vocab_size()} vocabulary entries, {VOCABULARY} are needed")
    return tokenizer


def encode(tokenizer: Tokenizer, document: Document) -> tuple[list[int], list[bool]]:
    """The document's token ids, and for each whether the model learns to write it."""
    ids: list[int] = []
    learned: list[bool] = []
    for piece, learn in document.pieces():
        piece_ids = tokenizer.encode(piece, add_special_tokens=False).ids
        ids += piece_ids
        learned += [learn] * len(piece_ids)
    return ids, learned


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, "utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "additional_special_tokens": [TURN_START],
        "model_max_length": MAX_LENGTH,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
