"""The ids that a client would take for words: what `--device sim` draws from, as it has no logits to ask.

A word is one entry of the vocabulary that is text by itself: ASCII letters, perhaps with the mark of a space before
them. So every drawn token is one piece of text, none ends an answer, and none is half a character.
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from shared.errors import ConfigError

WORD = re.compile(r"[Ġ▁]?[A-Za-z]+")  # byte-level BPE writes a space as the one, SentencePiece as the other


def words(folder: Path, vocab_size: int) -> Sequence[int]:
    """Their ids below `vocab_size`, in order; all ids that are not special where the vocabulary holds no such words.

    Raises ConfigError where `folder` holds no tokenizer.json that can be read.
    """
    path = folder / "tokenizer.json"
    try:
        tokenizer = orjson.loads(path.read_bytes())
        special = {token["id"] for token in tokenizer["added_tokens"]}
        pieces = {id: piece for piece, id in _pieces(tokenizer["model"]["vocab"])}
    except FileNotFoundError:
        raise ConfigError(f"model: --device sim draws words from {path}, which does not exist") from None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"model: {path} is no tokenizer: {error!r}") from None
    ordinary = sorted(id for id in pieces if id < vocab_size and id not in special)
    found = array("i", (id for id in ordinary if WORD.fullmatch(pieces[id]))) or array("i", ordinary)
    if not found:
        raise ConfigError(f"model: {path} holds no token that is not special")
    return found


def _pieces(vocab: dict[str, int] | list[list[Any]]) -> Iterator[tuple[str, int]]:
    """BPE and WordPiece name each id; a unigram model lists [piece, score] in the order of the ids."""
    if isinstance(vocab, dict):
        yield from vocab.items()
    else:
        for id, (piece, _) in enumerate(vocab):
            yield piece, id
