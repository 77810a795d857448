"""Loading a tokenizer: the real vocabulary and chat template, no torch, and one clear line when it cannot be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from shared.errors import ConfigError
from shared.tokenizer import load


def write(folder: Path, tokenizer_class: str = "PreTrainedTokenizerFast") -> Path:
    """A tokenizer of three words, as Hugging Face stores it."""
    Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="a")).save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": tokenizer_class, "chat_template": "{{ messages[0].content }}", "eos_token": "c"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("tokenizer_class", ["PreTrainedTokenizerFast", "LlamaTokenizer", "Qwen2TokenizerFast"])
def test_a_tokenizer_is_loaded_whatever_class_its_configuration_names(tmp_path: Path, tokenizer_class: str) -> None:
    """The vocabulary, the named special tokens and the chat template are those of the folder."""
    tokenizer = load(write(tmp_path, tokenizer_class))
    assert tokenizer.backend_tokenizer.decode([1, 2], skip_special_tokens=False) == "b c"
    assert tokenizer.eos_token == "c"
    assert tokenizer.chat_template == "{{ messages[0].content }}"


def test_loading_a_tokenizer_imports_no_torch(tmp_path: Path) -> None:
    """A gateway or detokenizer stays small: torch is not in the process after a tokenizer was loaded."""
    program = (
        "import sys; from pathlib import Path; from shared.tokenizer import load\n"
        f"load(Path({str(write(tmp_path))!r})); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_folder_without_a_fast_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    """The operator reads which folder lacks which file."""
    with pytest.raises(ConfigError, match=f"{tmp_path} has no tokenizer.json"):
        load(tmp_path)


def test_a_broken_tokenizer_file_is_refused_by_name(tmp_path: Path) -> None:
    """Half a file is a configuration error and no traceback."""
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match=f"the tokenizer in {tmp_path} cannot be read"):
        load(tmp_path)
