"""A checkpoint's text side: a tokenizer of bytes with a BOS, an EOS and a chat template."""

from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from services.gateway.prompt import Encoder
from services.gateway.renderers import renderers
from shared import tokenizer as tokenizers_of

BOS, EOS = 256, 257
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' and loop.first %}"
    "{{ raise_exception('an assistant cannot begin') }}{% endif %}"
    "{{ m.role[0] + m.content + eos_token }}{% endfor %}{% if add_generation_prompt %}a{% endif %}"
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Byte b is token b; a completion's prompt gets the BOS in front."""
    folder = tmp_path_factory.mktemp("checkpoint")
    alphabet = {character: byte for byte, character in _byte_characters().items()}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<bos>", special=True), AddedToken("<eos>", special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    tokenizer.enable_truncation(8)  # as some published ones do; the gateway must not heed it
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "chat_template": TEMPLATE}
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"} | names)
    _write(folder / "config.json", {"model_type": "llama", "vocab_size": 300, "max_position_embeddings": 64})
    _write(folder / "generation_config.json", {"eos_token_id": [257, 299], "temperature": 0.5, "top_k": 20})
    return folder


@pytest.fixture
async def encoder(checkpoint: Path) -> AsyncIterator[Encoder]:
    """Of that checkpoint."""
    with ThreadPoolExecutor(1) as threads:
        async with renderers(10.0) as pool:
            yield Encoder(tokenizers_of.load(checkpoint), threads, pool)


def _write(path: Path, fields: Mapping[str, object]) -> None:
    path.write_bytes(orjson.dumps(fields))


def _byte_characters() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte: itself where it can be seen, else the next free one from U+0100."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(0x100 + i) for i, byte in enumerate(hidden)}
