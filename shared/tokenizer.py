"""Load a checkpoint's tokenizer, with its chat template, and never torch with it.

`PreTrainedTokenizerFast` and not transformers' Auto classes: those import torch wherever it is installed. So every
process that imports this file stays small, and only checkpoints with a `tokenizer.json` can be served.
"""

from pathlib import Path

from transformers import PreTrainedTokenizerFast

from shared.errors import ConfigError


def load(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in `folder`; its `backend_tokenizer` is the `tokenizers.Tokenizer` beneath.

    Raises ConfigError, naming the folder, when there is none or it cannot be read.
    """
    if not (folder / "tokenizer.json").is_file():
        raise ConfigError(f"model: {folder} has no tokenizer.json, and Sluice needs a tokenizer in that form")
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever its parsers raise: the file is not ours
        raise ConfigError(f"model: the tokenizer in {folder} cannot be read: {error}") from None
