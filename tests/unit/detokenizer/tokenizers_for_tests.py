"""Two tiny tokenizers of the kinds that models have, built without a file."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

CORPUS = [
    "The river says nothing, but the mill turns. \u65e5\u672c\u8a9e and \U0001f389\U0001f389 na\u00efve caf\u00e9s!"
] * 3
SPECIALS = ("<s>", "</s>", "<|turn|>")


def byte_level() -> Tokenizer:
    """Like Qwen's and Llama 3's: byte-level BPE, any bytes at all can come out."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    return tokenizer


def byte_fallback() -> Tokenizer:
    """Like Llama 2's and Mistral's: SentencePiece with spaces as U+2581, and a piece for each byte."""
    words = ["▁", "▁the", "▁mill", "turn", "s", "ing", "é", "日", "!", "▁▁", "The", "END"]
    names = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    vocabulary = {name: i for i, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<s>", fuse_unk=True, byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return tokenizer


def metaspace() -> Tokenizer:
    """Like T5's: the Metaspace decoder, no bytes."""
    words = ["\u2581the", "\u2581mill", "\u2581", "turn", "s", "\u65e5", "\u2581a", "!"]
    names = [*SPECIALS, *words]
    tokenizer = Tokenizer(models.Unigram([(name, 0.0) for name in names], 0, False))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return tokenizer


def id_of(tokenizer: Tokenizer, name: str) -> int:
    found = tokenizer.token_to_id(name)
    assert found is not None, name
    return found
