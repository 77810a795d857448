"""`truncate_prompt_tokens` keeps a prompt's end, for texts, ids and chats."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from tokenizers import AddedToken, decoders

from services.gateway.limits import Limits
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.prompt import Encoder
from services.gateway.renderers import renderers
from services.gateway.truncation import MAX_CUT_CHARACTERS
from services.gateway.validation import parse
from shared import tokenizer
from shared.errors import ClientError
from shared.types import TokenIds
from tests.unit.gateway.conftest import BOS, EOS

LIMITS = Limits(max_model_len=64, vocab_size=300)


async def completion(encoder: Encoder, prompt: Any, **fields: Any) -> list[TokenIds]:
    body = parse(CompletionBody, orjson.dumps({"model": "m", "prompt": prompt} | fields))
    return await encoder.encode(body, LIMITS)


async def chat(encoder: Encoder, text: str, **fields: Any) -> list[TokenIds]:
    messages = [{"role": "user", "content": text}]
    return await encoder.encode(parse(ChatBody, orjson.dumps({"model": "m", "messages": messages} | fields)), LIMITS)


async def test_the_last_tokens_are_kept(encoder: Encoder) -> None:
    assert await completion(encoder, ["abc", "d"], truncate_prompt_tokens=2) == [(98, 99), (BOS, 100)]
    assert await completion(encoder, [list(range(200))], truncate_prompt_tokens=3) == [(197, 198, 199)]
    assert await chat(encoder, "x", truncate_prompt_tokens=3) == [(ord("x"), EOS, ord("a"))]


async def test_minus_one_leaves_room_for_the_output(encoder: Encoder) -> None:
    """For what is asked, else for OpenAI's 16 tokens of a completion and for one of a chat."""
    for fields, length in (({}, 48), ({"max_tokens": 60}, 4), ({"min_tokens": 20}, 44), ({"max_tokens": 10**6}, 1)):
        [ids] = await completion(encoder, "y" * 1000, truncate_prompt_tokens=-1, **fields)
        assert ids == (ord("y"),) * length
    [ids] = await chat(encoder, "x" * 1000, truncate_prompt_tokens=-1)
    assert len(ids) == 63


async def test_what_cannot_be_is_refused(encoder: Encoder) -> None:
    for value in (0, -2, 2**31, True, "5", 64):
        for ask in (completion, chat):
            with pytest.raises(ClientError) as refusal:
                await ask(encoder, "x", truncate_prompt_tokens=value)
            assert refusal.value.param == "truncate_prompt_tokens"
            assert "truncate_prompt_tokens must be" in refusal.value.message


async def test_a_text_beyond_all_bounds_is_not_tokenized_to_be_cut(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_ids", None)
    for ask in (completion, chat):
        with pytest.raises(ClientError, match="maximum context length"):
            await ask(encoder, "x" * (MAX_CUT_CHARACTERS + 1), truncate_prompt_tokens=5)


async def test_special_tokens_are_added_to_texts_on_demand(encoder: Encoder) -> None:
    assert await completion(encoder, ["a"], add_special_tokens=False) == [(97,)]
    assert (await chat(encoder, "x", add_special_tokens=True))[0][:2] == (BOS, BOS)


async def test_a_decoder_that_writes_spaces_cannot_be_told_not_to(checkpoint: Path) -> None:
    """No served family has one; where `false` would change something it is refused, elsewhere it is what happens."""
    own = tokenizer.load(checkpoint)
    async with renderers(10.0) as pool:
        with ThreadPoolExecutor(1) as threads:
            for decoder in (decoders.ByteLevel(), decoders.WordPiece()):
                own.backend_tokenizer.decoder = decoder
                own.backend_tokenizer.add_special_tokens([AddedToken("<pad>", special=True)])
                encoder = Encoder(own, threads, pool)
                if isinstance(decoder, decoders.ByteLevel):
                    assert await completion(encoder, [[1]], spaces_between_special_tokens=False) == [(1,)]
                    continue
                with pytest.raises(ClientError, match="spaces_between_special_tokens must be true"):
                    await completion(encoder, [[1]], spaces_between_special_tokens=False)
