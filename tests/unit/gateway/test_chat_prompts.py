"""From a chat with tools, calls and template variables to the text that its model reads."""

import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.gateway.limits import Limits
from services.gateway.openai import ChatBody
from services.gateway.prompt import Encoder
from services.gateway.renderers import renderers
from services.gateway.validation import parse
from shared import tokenizer
from shared.errors import ClientError
from tests.unit.gateway.templates_for_tests import LLAMA, QWEN, WEATHER, with_template

LIMITS = Limits(max_model_len=4096, vocab_size=300)
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}
CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "rain?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "yes"},
]


@asynccontextmanager
async def reading(checkpoint: Path, folder: Path, template: object) -> AsyncIterator[Any]:
    """A function from the fields of a chat to the text of its prompt."""
    own = tokenizer.load(with_template(checkpoint, folder / "checkpoint", template))
    with ThreadPoolExecutor(1) as threads:
        async with renderers(20.0) as pool:
            encoder = Encoder(own, threads, pool)

            async def read(**fields: Any) -> str:
                body = parse(ChatBody, json.dumps({"model": "m", "messages": CHAT[:1]} | fields).encode())
                [ids] = await encoder.encode(body, LIMITS)
                return str(own.decode(ids))

            yield read


async def test_qwens_template_reads_tools_calls_and_answers(checkpoint: Path, tmp_path: Path) -> None:
    async with reading(checkpoint, tmp_path, QWEN) as read:
        tools = (
            "[system]You may call:\n"
            + json.dumps(WEATHER)
            + '\nas <tool_call>{"name": ..., "arguments": ...}</tool_call>.'
        )
        call = '\n<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'
        chat = f"[user]rain?[assistant]{call}[tool]yes[assistant]"
        assert await read(messages=CHAT, tools=[WEATHER]) == tools + chat
        assert await read(messages=CHAT, tools=[WEATHER], tool_choice="none") == chat
        assert await read() == "[user]rain?[assistant]"


async def test_llamas_template_reads_them_in_its_own_way(checkpoint: Path, tmp_path: Path) -> None:
    async with reading(checkpoint, tmp_path, LLAMA) as read:
        turn = "<|start_header_id|>{}<|end_header_id|>".format
        call = turn("assistant") + '{"name": "weather", "parameters": {"city": "Ulm"}}'
        chat = "<bos>" + turn("user") + "rain?" + call + turn("ipython") + "yes"
        assert await read(messages=CHAT, tools=[WEATHER]) == chat + json.dumps(WEATHER) + turn("assistant")


async def test_variables_reach_the_template_and_cannot_take_the_place_of_its_own(
    checkpoint: Path, tmp_path: Path
) -> None:
    async with reading(checkpoint, tmp_path, QWEN) as read:
        off = await read(chat_template_kwargs={"enable_thinking": False, "unknown": [1]})
        assert off == "[user]rain?[assistant]<think>\n\n</think>\n\n"
        assert await read(reasoning_effort="low") == "[user]rain?[assistant](low)"
        assert await read(add_generation_prompt=False) == "[user]rain?"
        with pytest.raises(ClientError) as refusal:
            await read(chat_template_kwargs={"bos_token": "x"})
        assert refusal.value.param == "chat_template_kwargs.bos_token"


async def test_a_final_message_is_continued(checkpoint: Path, tmp_path: Path) -> None:
    """The prompt ends with its text; what a template would write behind it is left out."""
    async with reading(checkpoint, tmp_path, QWEN) as read:
        messages = [*CHAT[:1], {"role": "assistant", "content": "It will "}]
        assert await read(messages=messages, continue_final_message=True) == "[user]rain?[assistant]It will"
        assert await read(messages=messages) == "[user]rain?[assistant]It will[assistant]"


async def test_some_checkpoints_have_a_template_of_its_own_for_tools(checkpoint: Path, tmp_path: Path) -> None:
    """Which of them is used is seen from the request; each has its process."""
    both = [{"name": "default", "template": "{{ messages[0].content }}"}, {"name": "tool_use", "template": QWEN}]
    async with reading(checkpoint, tmp_path, both) as read:
        for _ in range(2):
            assert await read() == "rain?"
            assert (await read(tools=[WEATHER])).startswith("[system]You may call:")
