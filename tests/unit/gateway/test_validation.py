"""What a request body may say, and how the refusal of a bad one reads."""

import json
from typing import Any

import pytest

from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.validation import parse
from shared.errors import ClientError

MESSAGES = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> ChatBody:
    return parse(ChatBody, json.dumps({"model": "m", "messages": MESSAGES} | fields).encode())


def completion(**fields: Any) -> CompletionBody:
    return parse(CompletionBody, json.dumps({"model": "m", "prompt": "hi"} | fields).encode())


BAD: dict[str, list[Any]] = {
    "model": [1, "", [], "m" * 513],
    "temperature": [-0.01, 2.01, "1", True, [], {}, 1e300],
    "top_p": [0, -1, 1.01, "x", False],
    "top_k": [-2, 1.5, True, "5", 2**31, 10**30],
    "min_p": [-0.1, 1.1, "0"],
    "presence_penalty": [-2.1, 2.1, "0", True],
    "frequency_penalty": [-2.1, 2.1, None.__class__.__name__],
    "repetition_penalty": [0, -1, 2.1, "1"],
    "seed": ["1", 1.5, True, 2**64, -(2**63) - 1, 10**40],
    "n": [0, -1, 129, 1.0, "1", True, 2**62],
    "max_tokens": [0, -1, 1.5, "5", True],
    "min_tokens": [-1, 0.5, "1", True],
    "stop": ["", [""], ["a"] * 17, 5, [1], [None], "x" * 1025, {"a": 1}],
    "stop_token_ids": [5, "5", [-1], ["5"], [1.0], [True], [2**31], [1] * 257],
    "ignore_eos": [1, 0, "true"],
    "logit_bias": [5, [5], {str(i): 0 for i in range(1025)}],
    "allowed_token_ids": [[], 5, ["5"], [-1], [True], [1] * 1025],
    "bad_words": ["x", [1], ["  "], [""], ["x"] * 129, ["x" * 257]],
    "stream": [1, "true", []],
    "user": [5, {}, "x" * 1025],
    "metadata": ["x", {str(i): "x" for i in range(17)}],
    "store": [True, "no", 0, 0.0],
    "service_tier": ["default", "flex", "priority", 1],
    "safety_identifier": [1, "x" * 1025],
    "prompt_cache_key": [1, "x" * 1025],
}
CASES = [(name, value) for name, values in BAD.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_bad_value_is_refused_by_the_name_of_its_field(name: str, value: Any) -> None:
    """Both endpoints answer 400, `param` is the field, and the message names it too."""
    for make in (chat, completion):
        with pytest.raises(ClientError) as refusal:
            make(**{name: value})
        assert refusal.value.status == 400
        assert refusal.value.param == name
        assert name in refusal.value.message


@pytest.mark.parametrize("name", [*BAD, "stream_options", "tools", "response_format", "best_of"])
def test_null_means_unset(name: str) -> None:
    """A client that spells out its defaults as null is understood, for fields Sluice does not have as well."""
    if name == "model":
        return
    assert chat(**{name: None}) == chat()
    assert completion(**{name: None}) == completion()


def test_null_means_unset_inside_of_objects_too() -> None:
    """The `openai` client sends an answer's message back with `refusal: null`."""
    turn = {"role": "assistant", "content": "yes", "refusal": None, "name": None}
    assert chat(messages=[turn]).messages[0].plain() == {"role": "assistant", "content": "yes"}
    assert not chat(stream=True, stream_options={"include_usage": None}).include_usage


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_null_for_what_is_needed_is_a_field_that_is_missing(name: str) -> None:
    with pytest.raises(ClientError) as refusal:
        chat(**{name: None})
    assert (refusal.value.param, refusal.value.code) == (name, "missing_required_parameter")


@pytest.mark.parametrize("name", ["temprature", "__class__", "", "a.b"])
def test_a_field_sluice_does_not_know_is_refused_by_name(name: str) -> None:
    """Never ignored: a misspelt parameter would silently change nothing."""
    for make in (chat, completion):
        with pytest.raises(ClientError) as refusal:
            make(**{name: 1})
        assert refusal.value.code == "unknown_parameter"
        assert refusal.value.param == name
        assert refusal.value.message == f"Unrecognized request argument supplied: {name}"


def test_openai_fields_without_effect_are_accepted() -> None:
    inert = {
        "user": "u",
        "metadata": {"k": "v"},
        "store": False,
        "service_tier": "auto",
        "safety_identifier": "s",
        "prompt_cache_key": "p",
    }
    assert chat(**inert).user == "u"
    assert completion(**inert).metadata == {"k": "v"}


GOOD: dict[str, list[Any]] = {
    "temperature": [0, 2, 0.7],
    "top_p": [1, 0.001],
    "top_k": [-1, 0, 1, 2**31 - 1],
    "min_p": [0, 1],
    "presence_penalty": [-2, 2],
    "repetition_penalty": [2, 0.01],
    "seed": [0, -(2**63), 2**64 - 1],
    "n": [1, 128],
    "max_tokens": [1, 10**9],
    "stop": ["a", ["a"] * 16, []],
    "stop_token_ids": [[], [0, 5]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_the_ends_of_each_range_are_within_it(name: str, value: Any) -> None:
    for make in (chat, completion):
        assert getattr(make(**{name: value}), name) == ([value] if isinstance(value, str) else value)


BAD_MESSAGES: list[tuple[Any, str]] = [
    ([], "messages"),
    ("hi", "messages"),
    ({}, "messages"),
    (["hi"], "messages"),
    ([{"role": "user"}], "messages.0.content"),
    ([{"content": "x"}], "messages.0.role"),
    ([{"role": "tool", "content": "x"}], "messages.0.tool_call_id"),
    ([{"role": "tool", "tool_call_id": "a"}], "messages.0.content"),
    ([{"role": "assistant"}], "messages.0.content"),
    ([{"role": "assistant", "content": "x", "tool_calls": []}], "messages.0.tool_calls"),
    ([{"role": "assistant", "tool_calls": [{"id": "a"}]}], "messages.0.tool_calls.0.function"),
    ([{"role": "user", "content": "x", "tool_call_id": "a"}], "messages.0.tool_call_id"),
    ([{"role": "user", "content": "x", "reasoning_content": "a"}], "messages.0.reasoning_content"),
    ([{"role": "robot", "content": "x"}], "messages.0.role"),
    ([*MESSAGES, {"role": "user", "content": 5}], "messages.1.content"),
    ([{"role": "user", "content": []}], "messages.0.content"),
    ([{"role": "user", "content": ["x"]}], "messages.0.content"),
    ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content.0.text"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "messages.0.content.0.type"),
    ([{"role": "user", "content": "x", "tool_calls": [1]}], "messages.0.tool_calls"),
    ([{"role": "user", "content": "x", "name": 5}], "messages.0.name"),
]


@pytest.mark.parametrize(("messages", "param"), BAD_MESSAGES)
def test_a_bad_message_is_refused_by_its_path(messages: Any, param: str) -> None:
    with pytest.raises(ClientError) as refusal:
        chat(messages=messages)
    assert refusal.value.param == param
    assert param in refusal.value.message


def test_a_part_of_another_type_is_named() -> None:
    with pytest.raises(ClientError, match="image_url"):
        chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


def test_text_parts_are_joined_and_a_developer_is_the_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body = chat(messages=[{"role": "developer", "content": "be brief"}, {"role": "user", "content": parts}])
    assert [message.plain() for message in body.messages] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "ab"},
    ]


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("text", ["text"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_a_prompt_has_four_forms(prompt: Any, prompts: list[Any]) -> None:
    assert completion(prompt=prompt).prompt == prompts


@pytest.mark.parametrize(
    "prompt", [5, True, {}, [], [True], [1, "a"], [1.5], [-1], [2**31], [[1, "a"]], [[[1]]], ["a"] * 257]
)
def test_a_prompt_of_another_form_is_refused(prompt: Any) -> None:
    with pytest.raises(ClientError) as refusal:
        completion(prompt=prompt)
    assert refusal.value.param == "prompt"


WORDS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": 5}, "prompt must be a string, a list of token ids, or a list of either, not 5"),
    ({"prompt": [1.5]}, "prompt must be a string, a list of token ids, or a list of either, not 1.5"),
    ({"stop": ["a"] * 17}, "stop must have at most 16 items, not 17"),
    ({"stream": True, "stream_options": 5}, "stream_options must be an object, not 5"),
]


@pytest.mark.parametrize(("fields", "message"), WORDS)
def test_a_refusal_is_in_the_words_of_json(fields: dict[str, Any], message: str) -> None:
    """And not in those of the classes that found the mistake."""
    with pytest.raises(ClientError) as refusal:
        completion(**fields)
    assert refusal.value.message == message


def test_content_of_another_form_is_told_both_forms() -> None:
    with pytest.raises(ClientError) as refusal:
        chat(messages=[{"role": "user", "content": 5}])
    assert refusal.value.message == "messages.0.content must be a string or a list of text parts, not 5"
    assert refusal.value.code == "invalid_type"


CONFLICTS: list[tuple[dict[str, Any], str]] = [
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"stream": True, "stream_options": {"chunk": 1}}, "stream_options.chunk"),
    ({"stream": True, "stream_options": 5}, "stream_options"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
]


@pytest.mark.parametrize(("fields", "param"), CONFLICTS)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as refusal:
        chat(**fields)
    assert refusal.value.param == param


def test_the_number_of_choices_is_bounded() -> None:
    """n and the list of prompts multiply; both in their range may be too many together."""
    with pytest.raises(ClientError) as refusal:
        completion(n=128, prompt=["a"] * 9)
    assert refusal.value.param == "n"


def test_max_completion_tokens_is_the_newer_name_of_max_tokens() -> None:
    assert chat(max_completion_tokens=7).output_limit == ("max_completion_tokens", 7)
    assert chat(max_tokens=7).output_limit == ("max_tokens", 7)
    assert chat(max_tokens=7, max_completion_tokens=7).output_limit[1] == 7
