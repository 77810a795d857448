"""A call that must come is a grammar on the bus: checked like any other, and named when it cannot be."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.gateway import fakes
from tests.unit.gateway.fakes import a_chat, a_world, error_of, start
from tests.unit.gateway.templates_for_tests import QWEN, WEATHER, with_template
from tests.unit.gateway.test_tools import tool

NAMED = {"type": "function", "function": {"name": WEATHER["function"]["name"]}}


FORCED = [({"tool_choice": "required"}, True), ({"tool_choice": NAMED}, True), ({}, False)]


@pytest.fixture
def calling(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same tokenizer, with a template that knows tools, and room for them."""
    monkeypatch.setattr(fakes, "CONTEXT", 4096)
    return with_template(checkpoint, tmp_path / "model", QWEN)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tool_choice": "required"}, True),
        ({"tool_choice": NAMED}, True),
        ({}, False),
        ({"tool_choice": "none"}, False),
    ],
)
async def test_a_forced_call_is_held_to_its_schema(calling: Path, fields: dict[str, Any], expected: bool) -> None:
    async with a_world(calling) as world:
        asking = start(world.chat(tools=[WEATHER], **fields))
        (request,) = await world.submitted()
        asking.cancel()
        if expected:
            (grammar,) = orjson.loads(request.sampling.grammar)["grammars"]
            assert "<tool_call>" in grammar["lark_grammar"] and WEATHER["function"]["name"] in grammar["lark_grammar"]
        else:
            assert request.sampling.grammar == ""


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [WEATHER], "tool_choice": "required", "ignore_eos": True}, "ignore_eos"),
        ({"tools": [tool(parameters={"type": "object", "properties": {"a": {"$ref": "#/x"}}})]}, "tool_choice"),
        ({"tools": [WEATHER], "response_format": {"type": "json_object"}}, "response_format"),
    ],
)
async def test_what_contradicts_a_forced_call_is_refused_by_name(
    calling: Path, fields: dict[str, Any], param: str
) -> None:
    async with (
        a_world(calling) as world,
        world.http.post("/v1/chat/completions", json=a_chat(**({"tool_choice": "required"} | fields))) as response,
    ):
        assert (response.status, (await error_of(response))["param"]) == (400, param)
