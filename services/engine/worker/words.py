"""The ids that a client would take for words: what `--device sim` draws from, as it has no logits to ask.

A word is one entry of the vocabulary that is text by itself: ASCII letters, perhaps with the mark of a space before
them. So every drawn token is one piece of text, none ends an answer, and none is half a character.

Or words that tell the time: a vocabulary made for it (`bench/clock_model.py`) holds the numbers from 00000 on.
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import orjson

from shared.errors import ConfigError

WORD = re.compile(r"[Ġ▁]?[A-Za-z]+")  # byte-level BPE writes a space as the one, SentencePiece as the other
NUMBER = re.compile(r"[Ġ▁]?([0-9]{5})")
FEWEST_NUMBERS = 4096  # a second: an older word would be taken for a new one


def words(folder: Path, vocab_size: int) -> Sequence[int]:
    """Their ids below `vocab_size`, in order; all ids that are not special where the vocabulary holds no such words.

    Raises ConfigError where `folder` holds no tokenizer.json that can be read.
    """
    pieces = _ordinary(folder, vocab_size)
    return array("i", (id for id, piece in pieces.items() if WORD.fullmatch(piece))) or array("i", pieces)


def clock_words(folder: Path, vocab_size: int) -> Sequence[int]:
    """The ids of 00000, 00001 and so on, up to the first number that is missing. Raises ConfigError for too few."""
    pieces = _ordinary(folder, vocab_size)
    ids = {int(match[1]): id for id, piece in pieces.items() if (match := NUMBER.fullmatch(piece))}
    found = array("i", (ids[n] for n in takewhile(ids.__contains__, count())))
    if len(found) < FEWEST_NUMBERS:
        raise ConfigError(
            f"--sim-words clock draws five-digit numbers, at least 00000 to {FEWEST_NUMBERS - 1:05}, "
            f"and {folder / 'tokenizer.json'} lacks {len(found):05}"
        )
    return found


def _ordinary(folder: Path, vocab_size: int) -> dict[int, str]:
    """What is not special, in the order of the ids. Raises ConfigError where there is nothing of the kind."""
    path = folder / "tokenizer.json"
    try:
        tokenizer = orjson.loads(path.read_bytes())
        special = {token["id"] for token in tokenizer["added_tokens"]}
        pieces = {id: piece for piece, id in _pieces(tokenizer["model"]["vocab"])}
    except FileNotFoundError:
        raise ConfigError(f"model: --device sim draws words from {path}, which does not exist") from None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"model: {path} is no tokenizer: {error!r}") from None
    found = {id: pieces[id] for id in sorted(pieces) if id < vocab_size and id not in special}
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
