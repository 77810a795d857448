"""The tokenizer of both models: exactly as many ids as the models have, whatever it was trained on."""

import random
from pathlib import Path

import pytest

from bench.vs_vllm.models import SIZES, VOCABULARY, cached, tokenizer

FEW, MANY = ["a little text, of which no 8,192 ids come"], ["".join(random.Random(0).choices("abcdefgh ", k=50_000))]


@pytest.mark.parametrize("texts", [FEW, MANY], ids=["filled up", "trained"])
def test_there_are_as_many_ids_as_the_models_have(texts: list[str]) -> None:
    made = tokenizer(texts)
    assert made.get_vocab_size() == VOCABULARY == 8192
    assert sorted(made.get_vocab().values()) == list(range(VOCABULARY))
    assert made.to_str() == tokenizer(texts).to_str()


def test_ids_that_were_added_are_read_again_as_themselves() -> None:
    """A generator makes prompts of random ids, and counts what their text is read as."""
    made = tokenizer(FEW)
    ids = [VOCABULARY - 1, VOCABULARY - 2, VOCABULARY - 1]
    assert made.encode(made.decode(ids)).ids == ids


def test_bytes_that_are_text_come_back() -> None:
    text = "for i in range(3): größer, 犬 🐕"
    made = tokenizer(FEW)
    assert made.decode(made.encode(text).ids) == text


@pytest.mark.parametrize("name", SIZES)
def test_what_lies_in_the_cache_is_not_built_again(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    assert cached(name, tmp_path) == folder and not list(folder.iterdir())
