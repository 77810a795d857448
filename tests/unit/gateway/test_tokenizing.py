"""`/tokenize` and `/detokenize` over HTTP, with the checkpoint's own tokenizer."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from services.gateway.tokenizing import MOST_TOKENS, DetokenizeBody
from services.gateway.validation import shaped
from shared.errors import ClientError
from tests.unit.gateway.conftest import BOS, EOS
from tests.unit.gateway.fakes import CONTEXT, MODEL, World, a_world, error_of
from tests.unit.gateway.templates_for_tests import QWEN, WEATHER, with_template

CHAT = {"messages": [{"role": "user", "content": "x"}]}


async def told(world: World, path: str, **fields: Any) -> dict[str, Any]:
    async with world.http.post(path, json=fields) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def test_a_text_becomes_the_ids_that_a_completion_would_use(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        answer = await told(world, "/tokenize", model=MODEL, prompt="ab")
        assert answer == {"count": 3, "max_model_len": CONTEXT, "tokens": [BOS, 97, 98], "token_strs": None}
        answer = await told(world, "/tokenize", prompt="a é", add_special_tokens=False, return_token_strs=True)
        assert answer["tokens"] == [97, 32, 0xC3, 0xA9] and answer["token_strs"] == ["a", "Ġ", "Ã", "©"]
        assert (await told(world, "/tokenize", prompt=""))["tokens"] == [BOS]


async def test_messages_become_the_ids_that_a_chat_would_use(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        answer = await told(world, "/tokenize", **CHAT)
        assert answer["tokens"] == [BOS, ord("u"), ord("x"), EOS, ord("a")]
        assert (await told(world, "/tokenize", **CHAT, add_special_tokens=True))["tokens"][:2] == [BOS, BOS]
        answer = await told(world, "/tokenize", **CHAT, add_generation_prompt=False)
        assert answer["tokens"] == [BOS, ord("u"), ord("x"), EOS]
        answer = await told(world, "/tokenize", **CHAT, continue_final_message=True, return_token_strs=True)
        assert answer["tokens"] == [BOS, ord("u"), ord("x")] and answer["token_strs"] == ["<bos>", "u", "x"]


async def test_tools_and_variables_are_counted_as_a_chat_would(checkpoint: Path, tmp_path: Path) -> None:
    async with a_world(with_template(checkpoint, tmp_path / "checkpoint", QWEN)) as world:
        plain = await told(world, "/tokenize", **CHAT)
        told_off = await told(world, "/tokenize", **CHAT, chat_template_kwargs={"enable_thinking": False})
        with_tools = await told(world, "/tokenize", **CHAT, tools=[WEATHER])
        assert told_off["count"] == plain["count"] + len("<think>\n\n</think>\n\n")
        assert with_tools["count"] > plain["count"] + 100


@pytest.mark.parametrize("text", ["", "hello", "naïve 日本語 🦊\n\t", "x" * 300])
async def test_ids_become_the_text_they_came_from(checkpoint: Path, text: str) -> None:
    """Also more than the model takes at once: who asks for the count wants to know it."""
    async with a_world(checkpoint) as world:
        ids = (await told(world, "/tokenize", prompt=text, add_special_tokens=False))["tokens"]
        assert len(ids) == len(text.encode())
        assert await told(world, "/detokenize", tokens=ids) == {"prompt": text}
        assert await told(world, "/detokenize", model=MODEL, tokens=[BOS, 97]) == {"prompt": "<bos>a"}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("/tokenize", {}, "prompt"),
    ("/tokenize", {"prompt": "x", **CHAT}, "prompt"),
    ("/tokenize", {"prompt": 5}, "prompt"),
    ("/tokenize", {"prompt": ["x"]}, "prompt"),
    ("/tokenize", {"prompt": "x" * 320}, "prompt"),  # cannot fit, however long its tokens are
    ("/tokenize", {"messages": [{"role": "user", "content": "x" * 320}]}, "messages"),
    ("/tokenize", {"messages": []}, "messages"),
    ("/tokenize", {"messages": [{"role": "user"}]}, "messages.0.content"),
    ("/tokenize", {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
    ("/tokenize", {"prompt": "x", "add_special_tokens": 1}, "add_special_tokens"),
    ("/tokenize", {"prompt": "x", "return_token_strs": "yes"}, "return_token_strs"),
    ("/tokenize", {"prompt": "x", "chat_template": "{{ 1 }}"}, "chat_template"),
    ("/tokenize", {**CHAT, "mm_processor_kwargs": {}}, "mm_processor_kwargs"),
    ("/tokenize", {"prompt": "x", "add_generation_prompt": False}, "add_generation_prompt"),
    ("/tokenize", {"prompt": "x", "tools": [WEATHER]}, "tools"),
    ("/tokenize", {**CHAT, "tools": [WEATHER]}, "tools"),  # its template does not know them
    ("/tokenize", {**CHAT, "chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
    ("/tokenize", {**CHAT, "add_generation_prompt": True, "continue_final_message": True}, "continue_final_message"),
    ("/tokenize", {"prompt": "x", "model": ""}, "model"),
    ("/detokenize", {}, "tokens"),
    ("/detokenize", {"tokens": 5}, "tokens"),
    ("/detokenize", {"tokens": [-1]}, "tokens"),
    ("/detokenize", {"tokens": [True]}, "tokens"),
    ("/detokenize", {"tokens": [300]}, "tokens"),  # the model has no such token
]


async def test_what_cannot_be_done_is_refused_by_its_field(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        for path, fields, param in REFUSED:
            async with world.http.post(path, json=fields) as response:
                error = await error_of(response)
                assert (response.status, error["param"]) == (400, param), (path, str(fields)[:80], error)
        for path, fields in (("/tokenize", {"prompt": "x"}), ("/detokenize", {"tokens": [1]})):
            async with world.http.post(path, json=fields | {"model": "other"}) as response:
                assert (response.status, (await error_of(response))["code"]) == (404, "model_not_found")
            async with world.http.post(path, data=b"{", headers={"Content-Type": "application/json"}) as response:
                assert (await error_of(response))["code"] == "invalid_json"


def test_more_ids_than_any_context_holds_are_refused_before_each_is_looked_at() -> None:
    with pytest.raises(ClientError) as refusal:
        shaped(DetokenizeBody, orjson.dumps({"tokens": [1] * MOST_TOKENS + ["x"]}))
    assert refusal.value.param == "tokens" and str(MOST_TOKENS) in refusal.value.message


async def test_while_no_engine_is_there_nobody_knows_the_bounds(checkpoint: Path) -> None:
    async with (
        a_world(checkpoint, ready=False) as world,
        world.http.post("/tokenize", json={"prompt": "x"}) as response,
    ):
        assert response.status == 503 and response.headers["Retry-After"]
