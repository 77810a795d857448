"""Where a model's files are, and what they say beside the weights. No torch: the gateway asks too.

A model is a directory in Hugging Face format, or a Hugging Face id whose files are downloaded into Hugging Face's own
cache. A token for gated models comes from HF_TOKEN or, as a container's secret, from the file HF_TOKEN_FILE names.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import orjson
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from tqdm import tqdm

from shared.errors import ConfigError

Progress = Callable[[str, float], None]  # a message, and the share that is done: 0 .. 1

TOKENIZER_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
WEIGHT_FILES = (
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",  # for grammars
)
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def locate(model: str, kind: Literal["tokenizer", "weights"], progress: Progress = lambda message, share: None) -> Path:
    """The directory with the model's files of this kind, downloaded if `model` is an id. Blocks; may take long.

    Raises ConfigError in one line that names the model and what is wrong with it.
    """
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"model: the directory {model} holds no config.json")
        return folder
    if not _ID.fullmatch(model):
        raise ConfigError(f"model: {model} is neither a directory nor a Hugging Face id")
    patterns = TOKENIZER_FILES if kind == "tokenizer" else WEIGHT_FILES
    try:
        found = snapshot_download(
            model, allow_patterns=list(patterns), token=_token(), tqdm_class=_bar(f"downloading {model}", progress)
        )
    except GatedRepoError:
        raise ConfigError(f"model: {model} is gated; set HF_TOKEN to a token that may read it") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ConfigError(f"model: {model} is neither a directory nor known to Hugging Face") from None
    except LocalEntryNotFoundError:
        raise ConfigError(f"model: {model} is not a directory, and Hugging Face cannot be reached") from None
    except (HfHubHTTPError, OSError) as error:
        raise ConfigError(f"model: {model} cannot be downloaded: {_first_line(error)}") from None
    return locate(str(found), kind)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as it stands. Raises ConfigError if it is missing or no JSON object."""
    config = _read(folder / "config.json")
    if config is None:
        raise ConfigError(f"model: {folder} holds no config.json")
    return config


def eos_ids(folder: Path) -> tuple[int, ...]:
    """The ids that end an answer, as generation_config.json says, else config.json; none if neither does."""
    for config in (_read(folder / "generation_config.json"), read_config(folder)):
        match (config or {}).get("eos_token_id"):
            case int(one):
                return (one,)
            case list(several):
                return tuple(int(id) for id in several)
    return ()


def vocab_size(folder: Path) -> int:
    """The width of the model's output: every id below it may be drawn."""
    return _positive(folder, "vocab_size")


def max_model_len(folder: Path) -> int:
    """The longest sequence the checkpoint was made for, in tokens."""
    return _positive(folder, "max_position_embeddings")


def _positive(folder: Path, key: str) -> int:
    value = read_config(folder).get(key)
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"model: {key} in {folder / 'config.json'} must be a positive number, not {value!r}")
    return value


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        value = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"model: {path} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"model: {path} must hold a JSON object")
    return value


def _token() -> str | None:
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    file = Path(os.environ.get("HF_TOKEN_FILE", ""))
    return file.read_text().strip() or None if file.is_file() else None


def _bar(message: str, progress: Progress) -> type[tqdm]:
    """A progress bar that draws nothing and reports the bytes that have arrived."""

    class Bar(tqdm):  # type: ignore[misc]  # it has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **(kwargs | {"disable": False, "file": _Nowhere()}))

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self._counts_bytes and self.total:
                progress(message, min(1.0, self.n / self.total))
            return shown

    return Bar


class _Nowhere:
    """A file for what nobody reads."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
