"""Tools, what may be asked of them, and what else of a chat shapes its prompt: what is taken, and what is not."""

import json
from typing import Any

import pytest

from services.gateway.forms import Forms, forms_of
from services.gateway.openai import ChatBody
from services.gateway.validation import parse
from shared.errors import ClientError
from shared.messages import Markup
from tests.unit.gateway.templates_for_tests import LLAMA, PLAIN, QWEN, WEATHER

MESSAGES = [{"role": "user", "content": "hi"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
NAMED = {"type": "function", "function": {"name": "weather"}}


def chat(**fields: Any) -> ChatBody:
    return parse(ChatBody, json.dumps({"model": "m", "messages": MESSAGES} | fields).encode())


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f"} | function}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


BAD: list[tuple[dict[str, Any], str]] = [
    ({"tools": []}, "tools"),
    ({"tools": "f"}, "tools"),
    ({"tools": [tool(name=f"f{i}") for i in range(129)]}, "tools"),
    ({"tools": [5]}, "tools"),
    ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
    ({"tools": [{"type": "function"}]}, "tools.0.function"),
    ({"tools": [tool(name="a b")]}, "tools.0.function.name"),
    ({"tools": [tool(name="")]}, "tools.0.function.name"),
    ({"tools": [tool(name="f" * 65)]}, "tools.0.function.name"),
    ({"tools": [tool(returns={})]}, "tools.0.function.returns"),
    ({"tools": [tool(parameters="{}")]}, "tools.0.function.parameters"),
    ({"tools": [tool(parameters={"a": "x" * 64 * 1024})]}, "tools.0.function.parameters"),
    ({"tools": [tool(parameters=nested(65))]}, "tools.0.function.parameters"),
    ({"tools": [tool(parameters=nested(900))]}, "tools.0.function.parameters"),
    ({"tools": [tool(), tool(name="g", parameters={"type": "string"})]}, "tools.1.function.parameters"),
    ({"tools": [tool(strict=1)]}, "tools.0.function.strict"),
    ({"tools": [tool(), tool()]}, "tools.1.function.name"),
    ({"tools": [WEATHER], "tool_choice": "any"}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": 5}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"tools": [WEATHER], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": NAMED}, "tool_choice"),
    ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"function_call": "auto"}, "function_call"),
    ({"chat_template": "{{ messages }}"}, "chat_template"),
    ({"documents": []}, "documents"),
    ({"add_generation_prompt": 1}, "add_generation_prompt"),
    ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
    (
        {"continue_final_message": True, "messages": [{"role": "assistant", "tool_calls": [CALL]}]},
        "continue_final_message",
    ),
    ({"chat_template_kwargs": [1]}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"a": nested(65)}}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"a": "x" * 16 * 1024}}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {f"a{i}": 1 for i in range(33)}}, "chat_template_kwargs"),
    *[
        ({"chat_template_kwargs": {name: 1}}, f"chat_template_kwargs.{name}")
        for name in (
            "messages",
            "tools",
            "raise_exception",
            "add_generation_prompt",
            "namespace",
            "_x",
            "a b",
            "__class__",
        )
    ],
    ({"reasoning_effort": "extreme"}, "reasoning_effort"),
    ({"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "high"}}, "reasoning_effort"),
    ({"include_reasoning": 0}, "include_reasoning"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=range(len(BAD)))
def test_what_is_not_taken_is_refused_by_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as refusal:
        chat(**fields)
    assert (refusal.value.status, refusal.value.param) == (400, param)
    assert param.split(".")[0] in refusal.value.message


def test_deprecated_fields_say_what_to_send_instead() -> None:
    for name, instead in (("functions", "tools"), ("function_call", "tool_choice")):
        with pytest.raises(ClientError) as refusal:
            chat(**{name: "auto"})
        assert refusal.value.message == f"{name} is not taken: send {instead}"
        assert refusal.value.code == "unsupported_parameter"


def test_a_tool_is_told_to_the_template_as_the_client_wrote_it() -> None:
    """Nulls in a schema mean something; `strict` is not for the template."""
    given = {"type": "function", "function": dict(WEATHER["function"]) | {"strict": False}}
    told = chat(tools=[given]).callable_tools[0].plain()
    assert told == WEATHER and list(told["function"]) == list(WEATHER["function"])
    assert chat(tools=[WEATHER], tool_choice="none").callable_tools == []
    assert (
        tool(name="f" * 64, parameters=nested(64))
        == chat(tools=[tool(name="f" * 64, parameters=nested(64))]).callable_tools[0].plain()
    )


def test_a_conversation_with_calls_reaches_the_template_as_hugging_face_writes_it() -> None:
    """Arguments are objects where they can be; what is no object stays the text it was."""
    spoilt = {"id": "2", "function": {"name": "f", "arguments": "{oops"}}
    empty = {"id": "3", "function": {"name": "f", "arguments": ""}}
    deep = {"id": "4", "function": {"name": "f", "arguments": json.dumps(nested(65))}}
    body = chat(
        messages=[
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "Hm",
                "tool_calls": [CALL, spoilt, empty, deep],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "rain"}]},
        ]
    )
    said, answered = [message.plain() for message in body.messages]
    arguments = [call["function"].pop("arguments") for call in said["tool_calls"]]
    assert arguments == [{"city": "Ulm"}, "{oops", {}, deep["function"]["arguments"]]  # type: ignore[index]
    assert said["tool_calls"][0] == {"id": "call_1", "type": "function", "function": {"name": "weather"}}
    assert (said["content"], said["reasoning_content"]) == ("", "Hm")
    assert answered == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}


TEMPLATES: list[tuple[str, tuple[str, str, bool, bool]]] = [
    (QWEN, ("hermes", "think", True, True)),
    (LLAMA, ("llama3", "none", True, False)),
    (PLAIN, ("none", "none", False, False)),
    ("{% if tools %}<|python_tag|>{% endif %}", ("llama3", "none", True, False)),
    ("{% if tools %}<tool_call><function=f></function></tool_call>{% endif %}", ("none", "none", True, False)),
]


@pytest.mark.parametrize(("template", "known"), TEMPLATES)
def test_a_template_tells_which_forms_its_model_knows(template: str, known: tuple[str, str, bool, bool]) -> None:
    assert forms_of(template) == Forms(*known)  # type: ignore[arg-type]
    assert forms_of(template, "llama3", "think") == Forms("llama3", "think", *known[2:])
    assert forms_of(template, "none", "none") == Forms("none", "none", *known[2:])


UNHEEDED: list[tuple[str, dict[str, Any], str]] = [
    (PLAIN, {"tools": [WEATHER]}, "tools"),
    (TEMPLATES[-1][0], {"tools": [WEATHER]}, "tools"),
    (PLAIN, {"reasoning_effort": "low"}, "reasoning_effort"),
    (QWEN, {"tools": [WEATHER], "response_format": {"type": "json_object"}}, "response_format"),
    (QWEN, {"tools": [WEATHER], "tool_choice": NAMED, "structured_outputs": {"regex": "a"}}, "structured_outputs"),
    (QWEN, {"tools": [WEATHER, tool(strict=True)]}, "tools.1.function.strict"),
]


@pytest.mark.parametrize(("template", "fields", "param"), UNHEEDED, ids=range(len(UNHEEDED)))
def test_what_this_model_would_not_heed_is_refused(template: str, fields: dict[str, Any], param: str) -> None:
    """By name, and never dropped in silence."""
    with pytest.raises(ClientError) as refusal:
        forms_of(template).check(chat(**fields))
    assert (refusal.value.status, refusal.value.param) == (400, param)


def test_what_to_look_for_in_the_answer_follows_from_model_and_request() -> None:
    """A chat of a model that thinks and calls nothing: text alone, and the way of plain text."""
    qwen, plain = forms_of(QWEN), forms_of(PLAIN)
    for body in (chat(), chat(tools=[WEATHER], tool_choice="none"), chat(reasoning_effort="low")):
        qwen.check(body)
        assert qwen.markup(body) == Markup(reasoning="think")
    assert plain.markup(chat()) is None
    assert forms_of(LLAMA).markup(chat(tools=[WEATHER], parallel_tool_calls=False)) == Markup(
        tools="llama3", parallel=False
    )
    assert qwen.markup(chat(tools=[WEATHER], include_reasoning=False)) == Markup(
        tools="hermes", reasoning="think", show_reasoning=False
    )
    for text, within in (("<think>\nHm", True), ("<think>Hm</think>So", False), ("So", False)):
        body = chat(messages=[*MESSAGES, {"role": "assistant", "content": text}], continue_final_message=True)
        assert qwen.markup(body) == Markup(reasoning="think", thinking=within)


def test_a_grammar_is_for_calls_that_must_come_and_for_strict_tools() -> None:
    """Nobody else pays for one. A named function is called once; the prompt's end tells whether thought was opened."""
    qwen = forms_of(QWEN, tokens=frozenset(("<tool_call>", "</think>", "<other>")))
    assert qwen.tokens == {"<tool_call>", "</think>"}
    for fields in ({}, {"tools": [WEATHER]}, {"tools": [tool(strict=True)], "tool_choice": "none"}):
        assert qwen.grammar(chat(**fields), "") == ""
    both = [WEATHER, tool()]
    required = qwen.grammar(chat(tools=both, tool_choice="required"), "<think>\n")
    assert required.startswith("start: thought gap call (") and '\\"f\\"' in required
    named = qwen.grammar(chat(tools=both, tool_choice=NAMED), "")
    assert "thought gap)? call \n" in named and '\\"f\\"' not in named
    strict = qwen.grammar(chat(tools=[WEATHER, tool(strict=True)], parallel_tool_calls=False), "")
    assert "thought gap)? text call?\n" in strict
