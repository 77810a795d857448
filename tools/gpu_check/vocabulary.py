"""A tokenizer for models with random weights: as many entries as the model has ids, each a short piece of text.

Every id decodes to something, most to four bytes, as in a real vocabulary; nothing is ever encoded with it but the few
characters of a test. Byte-level BPE, so that decoding goes the way it does for Qwen and Llama.
"""

from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPACE = "Ġ"  # how byte-level BPE writes it
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def write_tokenizer(size: int, folder: Path) -> Path:
    """`size` at least 256: the bytes come first."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces += ["".join(letters) for letters in islice(product(SPACE + ascii_lowercase, repeat=4), size - len(pieces))]
    tokenizer = Tokenizer(models.BPE(vocab={piece: id for id, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=TEMPLATE, clean_up_tokenization_spaces=False
    ).save_pretrained(folder)
    return folder
