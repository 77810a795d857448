"""Biases, allowed ids and bad words: what of them reaches the bus, and what is refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from services.gateway.fanout import fan_out
from services.gateway.openai import CompletionBody
from services.gateway.prompt import Encoder
from services.gateway.renderers import Renderers
from services.gateway.validation import parse
from shared import tokenizer
from shared.errors import ClientError
from shared.types import TokenIds
from tests.unit.gateway.test_fanout import CALL, LIMITS, MODEL, of_chat, of_completion


def completion(**fields: Any) -> CompletionBody:
    return parse(CompletionBody, json.dumps({"model": "m", "prompt": [5]} | fields).encode())


def test_biases_and_allowed_ids_are_sampling_parameters() -> None:
    """Of both endpoints; a bias of nothing is none, and an id that is named twice counts once."""
    asked: dict[str, Any] = {"logit_bias": {"7": -100, "0": 0, "49": 2.5}, "allowed_token_ids": [3, 4, 3]}
    for [request] in (of_chat(**asked), of_completion((5,), **asked)):
        assert (request.sampling.bias_ids, request.sampling.biases) == ((7, 49), (-100, 2.5))
        assert request.sampling.allowed_ids == (3, 4)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logit_bias": {"50": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 100.5}}, "logit_bias.5"),
        ({"logit_bias": {"5": "1"}}, "logit_bias.5"),
        ({"logit_bias": {"05": 1}}, "logit_bias.05"),
        ({"logit_bias": {"-5": 1}}, "logit_bias.-5"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"9999999999": 1}}, "logit_bias.9999999999"),
        ({"allowed_token_ids": [49, 50]}, "allowed_token_ids"),
    ],
)
def test_what_is_no_id_of_the_model_is_refused(fields: dict[str, Any], param: str) -> None:
    """By the path of the field; the vocabulary of this model ends at 49."""
    with pytest.raises(ClientError) as refusal:
        of_completion((5,), **fields)
    assert refusal.value.param == param and param in refusal.value.message


def test_bad_words_have_a_bound_as_tokens_and_leave_something_to_draw() -> None:
    """What is spelled shortly may be many tokens."""
    body = completion(bad_words=["x"], allowed_token_ids=[5, 6])
    fits: tuple[TokenIds, ...] = ((5,), (6, 6), (7,) * 1021)
    assert fan_out(body, [(5,)], MODEL, LIMITS, CALL, fits)[0].sampling.banned == fits
    with pytest.raises(ClientError, match="bad_words must be at most 1024 tokens in all, not 1025"):
        fan_out(body, [(5,)], MODEL, LIMITS, CALL, (*fits, (8,)))
    with pytest.raises(ClientError, match="leave no token"):
        fan_out(body, [(5,)], MODEL, LIMITS, CALL, ((5,), (6,)))


@pytest.fixture
def words() -> PreTrainedTokenizerFast:
    """A tokenizer to which a word behind a space is another token than at the beginning."""
    vocabulary = {"cat": 0, "\u0120cat": 1, "c": 2, "a": 3, "t": 4, "s": 5, "\u0120": 6, "[UNK]": 7}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template="")


async def test_a_bad_word_is_banned_at_the_beginning_and_behind_a_space(
    words: PreTrainedTokenizerFast, checkpoint: Path
) -> None:
    """Two sequences where they differ, without the tokenizer's special tokens; one given twice counts once."""
    with ThreadPoolExecutor(1) as threads:
        pool = Renderers(10.0)
        assert await Encoder(words, threads, pool).banned(["cat", " cat"]) == ((0,), (1,))
        bytes_ = Encoder(tokenizer.load(checkpoint), threads, pool)
        assert await bytes_.banned(["ab"]) == ((97, 98), (32, 97, 98))
        assert await bytes_.banned([]) == ()
        await pool.close()
