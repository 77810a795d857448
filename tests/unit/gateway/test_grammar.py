"""`response_format` and `structured_outputs`: what they become on the bus, and what is refused by name."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.gateway.grammar import MAX_BUS_BYTES, check_volume, regex_grammar, schema_grammar
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.validation import parse
from shared.errors import ClientError
from shared.grammars import MAX_GRAMMAR_BYTES
from tests.unit.gateway.fakes import a_chat, a_world, error_of, start

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"enum": [1, "é"]}}, "required": ["a"]}


def named(**fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA} | fields}


def body(**fields: Any) -> ChatBody:
    return parse(ChatBody, orjson.dumps(a_chat(**fields)))


def inner(**fields: Any) -> dict[str, Any]:
    grammar, param = body(**fields).grammar
    assert param in fields
    [only] = json.loads(grammar)["grammars"]
    return dict(only)


def test_a_schema_travels_as_it_is_with_a_bound_on_blanks() -> None:
    """Properties in the client's order, which is that of the answer."""
    for fields in (
        {"response_format": named()},
        {"response_format": named(strict=True, description="d")},
        {"structured_outputs": {"json": SCHEMA}},
        {"structured_outputs": {"json": json.dumps(SCHEMA)}},
    ):
        schema = inner(**fields)["json_schema"]
        assert "{1,64}" in schema.pop("x-guidance")["whitespace_pattern"]
        assert schema == SCHEMA and list(schema["properties"]) == ["b", "a"]
    assert inner(response_format={"type": "json_object"})["json_schema"]["type"] == "object"
    assert inner(structured_outputs={"json": True})["json_schema"].keys() == {"x-guidance"}


def test_a_client_may_say_how_blanks_are_written() -> None:
    own = {"x-guidance": {"whitespace_flexible": False}}
    assert (
        inner(response_format=named(schema=SCHEMA | own))["json_schema"]["x-guidance"]["whitespace_flexible"] is False
    )


def test_expressions_choices_and_grammars_travel_in_larks_form() -> None:
    assert inner(structured_outputs={"regex": "a/b\\/c\nd"}) == {"lark_grammar": "start: /(?:a\\/b\\/c\\nd)/"}
    assert inner(structured_outputs={"choice": ["yes", 'a "b"\n']}) == {"lark_grammar": 'start: "yes" | "a \\"b\\"\\n"'}
    assert inner(structured_outputs={"grammar": 'start: "x"'}) == {"lark_grammar": 'start: "x"'}


def test_without_a_form_there_is_no_grammar() -> None:
    for fields in ({}, {"response_format": {"type": "text"}}, {"response_format": None, "structured_outputs": None}):
        assert body(**fields).grammar == ("", "")
    assert parse(CompletionBody, orjson.dumps({"model": "m", "prompt": "x"})).grammar == ("", "")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema.schema"),
    ({"response_format": named(schema=[1])}, "response_format.json_schema.schema"),
    ({"response_format": named(schema=False)}, "response_format.json_schema.schema"),
    ({"response_format": named(name="")}, "response_format.json_schema.name"),
    ({"response_format": named(extra=1)}, "response_format.json_schema.extra"),
    ({"response_format": named(schema={str(n): {} for n in range(5000)})}, "response_format.json_schema.schema"),
    ({"response_format": named(schema={"enum": ["x" * 70_000]})}, "response_format"),
    ({"structured_outputs": {}}, "structured_outputs"),
    ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
    ({"structured_outputs": {"json": "{"}}, "structured_outputs"),
    ({"structured_outputs": {"json": "[1]"}}, "structured_outputs"),
    ({"structured_outputs": {"json": '"' + "x" * 70_000 + '"'}}, "structured_outputs"),
    ({"structured_outputs": {"json": 5}}, "structured_outputs.json"),
    ({"structured_outputs": {"regex": ""}}, "structured_outputs.regex"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
    ({"structured_outputs": {"choice": [1]}}, "structured_outputs.choice"),
    ({"structured_outputs": {"xml": "x"}}, "structured_outputs.xml"),
    ({"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}}, "structured_outputs"),
    ({"structured_outputs": {"regex": "a"}, "min_tokens": 3}, "min_tokens"),
    ({"response_format": {"type": "json_object"}, "ignore_eos": True}, "ignore_eos"),
    ({"structured_outputs": {"regex": "a" * 8000}, "n": 128, "messages": a_chat()["messages"]}, ""),
]


@pytest.mark.parametrize("fields, param", BAD, ids=[json.dumps(fields)[:60] for fields, _ in BAD])
def test_what_cannot_be_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    """Before anything is compiled. (The last one may be.)"""
    if not param:
        assert len(body(**fields).grammar[0]) * 128 < MAX_BUS_BYTES
        return
    with pytest.raises(ClientError) as refused:
        body(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_a_schema_is_bounded_in_depth_and_bytes() -> None:
    """However deep it is: nothing here recurses."""
    schema: Any = {}
    for _ in range(800):
        schema = {"items": [schema]}
    with pytest.raises(ClientError, match="64 levels"):
        schema_grammar(schema, "response_format")
    with pytest.raises(ClientError, match=str(MAX_GRAMMAR_BYTES)):
        schema_grammar({"enum": ["é" * 40_000]}, "response_format")
    with pytest.raises(ClientError, match="choices"):
        check_volume(regex_grammar("a" * 60_000, "p"), 128, "structured_outputs")


async def test_a_grammar_that_was_checked_is_on_the_bus(checkpoint: Path) -> None:
    """And one that was not is not; the answer says which parameter it was, the next request is served."""
    async with a_world(checkpoint) as world:
        async with await world.chat(structured_outputs={"regex": "(a"}) as response:
            assert response.status == 400
            error = await error_of(response)
            assert error["param"] == "structured_outputs" and "regex" in error["message"]
        calling = start(world.chat(response_format=named(), max_tokens=5, stream=True))
        [request] = await world.submitted()
        assert json.loads(request.sampling.grammar)["grammars"][0]["json_schema"]["required"] == ["a"]
        calling.cancel()
