"""Calls of tools in a model's text: which text is a call, and that no border between pieces changes it."""

import json
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detokenizer.parts import Arguments, Call, Content, Part
from services.detokenizer.toolcalls import ToolCalls

Told = tuple[str, list[tuple[str, str]]]  # the text, and name and arguments of each call

WEATHER = '{"name": "weather", "arguments": {"city": "Ulm", "days": [1, {"a": "}"}]}}'
ARGUMENTS = '{"city": "Ulm", "days": [1, {"a": "}"}]}'
HERMES: list[tuple[str, Told]] = [
    ("", ("", [])),
    ("No call.\n", ("No call.\n", [])),
    (f"<tool_call>{WEATHER}</tool_call>", ("", [("weather", ARGUMENTS)])),
    (f"\n<tool_call>\n{WEATHER}\n</tool_call>\n", ("", [("weather", ARGUMENTS)])),
    (f"I look.\n\n<tool_call>\n{WEATHER}\n</tool_call> Done.\n", ("I look. Done.\n", [("weather", ARGUMENTS)])),
    (
        f'<tool_call>{WEATHER}</tool_call>\n<tool_call>{{"name":"now","arguments":{{}}}}</tool_call>',
        ("", [("weather", ARGUMENTS), ("now", "{}")]),
    ),
    ('<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>', ("", [("f", '{"a": 1}')])),
    ('<tool_call>{"type": "function", "id": "\\"x\\"", "name": "f"}</tool_call>', ("", [("f", "{}")])),
    # the end is missing, or the braces do not match: a call that was told stays one
    (f"<tool_call>{WEATHER}", ("", [("weather", ARGUMENTS)])),
    (f"<tool_call>{WEATHER}}}\n</tool_call>", ("", [("weather", ARGUMENTS)])),
    ('<tool_call>{"name": "f", "arguments": {"a": 1}</tool_call>', ("", [("f", '{"a": 1}')])),
    ('<tool_call>{"name": "f", "arguments": {"a": [1</tool_call> so', (" so", [("f", '{"a": [1')])),
    ('<tool_call>{"name": "f", "arguments": {"a": "</tool_call>', ("", [("f", '{"a": "</tool_call>')])),
    ('<tool_call>{"name": "f", "arguments": {oops}}</tool_call>', ("", [("f", "{oops}")])),
    (f"<tool_call>{WEATHER} and <b>", (" and <b>", [("weather", ARGUMENTS)])),
    (
        f'<tool_call>{WEATHER}<tool_call>{{"name":"now","arguments":{{}}}}',
        ("", [("weather", ARGUMENTS), ("now", "{}")]),
    ),
    # no calls: all of it is text
    *[
        (text, (text, []))
        for text in (
            "a < b, <tool>, <tool_call",
            "<tool_call>",
            "a\n<tool_call>\n",
            "<tool_call>hello</tool_call>",
            "<tool_call>{}</tool_call>",
            '<tool_call>{"name": ""}</tool_call>',
            '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
            '<tool_call>{"name": "f", "arguments": "{}"}</tool_call>',
            '<tool_call>{"name": "f", "arguments": null}</tool_call>',
            '<tool_call>{"name": "f", "name": "g", "arguments": {}}</tool_call>',
            '<tool_call>{"nom": "f", "arguments": {}}</tool_call>',
            '<tool_call>{"name": "f g", "arguments": {}}</tool_call>',
            f'<tool_call>{{"name": "{"f" * 65}", "arguments": {{}}}}</tool_call>',
            '<tool_call>["name", "f"]</tool_call>',
            '<tool_call>{"name": "f", "argum',
            '<tool_call>{"arguments": {"a": 1}, "nam',
            "</tool_call>{",
            WEATHER,
        )
    ],
    (f"<tool_call>oh <tool_call>{WEATHER}</tool_call>", ("<tool_call>oh", [("weather", ARGUMENTS)])),
    (f"<tool_call><tool_call>{WEATHER}</tool_call>", ("<tool_call>", [("weather", ARGUMENTS)])),
]
LLAMA = '{"name": "weather", "parameters": {"city": "Ulm"}}'
LLAMA3: list[tuple[str, Told]] = [
    ("", ("", [])),
    ("It rains {often}.", ("It rains {often}.", [])),
    (LLAMA, ("", [("weather", '{"city": "Ulm"}')])),
    (f" \n{LLAMA} ", ("", [("weather", '{"city": "Ulm"}')])),
    (f"<|python_tag|>{LLAMA}", ("", [("weather", '{"city": "Ulm"}')])),
    (f"I look. <|python_tag|>{LLAMA}", ("I look.", [("weather", '{"city": "Ulm"}')])),
    (f"{LLAMA}; {WEATHER}", ("", [("weather", '{"city": "Ulm"}'), ("weather", ARGUMENTS)])),
    (f"{LLAMA}<|python_tag|>{WEATHER}", ("", [("weather", '{"city": "Ulm"}'), ("weather", ARGUMENTS)])),
    ('{"type": "function", "name": "f", "parameters": {}}', ("", [("f", "{}")])),
    (f"{LLAMA} is it", (" is it", [("weather", '{"city": "Ulm"}')])),
    *[
        (text, (text, []))
        for text in (
            '{"name": "Bob", "age": 5}',
            '{"name": "Bob"}',
            '  {"a": 1}\n',
            f"Here: {LLAMA}",
            '<|python_tag|>print("hi")',
            '<|python_tag|>brave_search.call(query="x")\n',
            "<tool_call>",
            " ;{",
        )
    ],
]
CASES = [("hermes", *case) for case in HERMES] + [("llama3", *case) for case in LLAMA3]


def parts_of(form: str, pieces: Sequence[str], parallel: bool = True) -> list[Part]:
    calls = ToolCalls(form, parallel)
    return [part for piece in pieces for part in calls.push(piece)] + calls.flush()


def told(parts: Sequence[Part]) -> Told:
    """As a client joins it; a call is told before its arguments, and in order."""
    text, calls = "", list[tuple[str, str]]()
    for part in parts:
        match part:
            case Content(more):
                assert more
                text += more
            case Call(index, name):
                assert index == len(calls)
                calls.append((name, ""))
            case Arguments(index, more):
                assert index == len(calls) - 1 and more
                calls[index] = (calls[index][0], calls[index][1] + more)
    return text, calls


@pytest.mark.parametrize(("form", "text", "wanted"), CASES)
def test_what_is_a_call_is_told_as_one_and_the_rest_is_text(form: str, text: str, wanted: Told) -> None:
    """In one piece, in two cut anywhere, and character by character."""
    assert told(parts_of(form, [text])) == wanted
    assert told(parts_of(form, list(text))) == wanted
    for cut in range(len(text)):
        assert told(parts_of(form, [text[:cut], text[cut:]])) == wanted


FRAGMENTS = [
    "<tool_call>",
    "</tool_call>",
    "<|python_tag|>",
    '{"name": "f", ',
    '"arguments": {',
    '"parameters": {',
    "}",
]
FRAGMENTS += ["}}", WEATHER, LLAMA, "\n", " ", ";", "text", '"', "\\", "<", "{", "é", '"a": [1]', "<tool_", "call>"]
soups = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["hermes", "llama3"]), soups, st.lists(st.integers(1, 9), max_size=60), st.booleans())
def test_no_cut_changes_what_is_told_and_nothing_is_lost(
    form: str, text: str, sizes: list[int], parallel: bool
) -> None:
    """Whatever a model writes. Without a call the text is told to the letter; with calls what was left out is their
    form: marks, braces, keys, blanks."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    parts = parts_of(form, [text], parallel)
    assert told(parts_of(form, [*pieces, text[at:]], parallel)) == told(parts)
    said, calls = told(parts)
    if not calls:
        assert said == text
    elif parallel:
        assert _left_out(text, parts) <= set('<>|/_;{}":, \n' + "tool_callpython_tagnameargumentsparameters")
    else:
        assert len(calls) == 1


def _left_out(text: str, parts: Sequence[Part]) -> set[str]:
    """The characters that are in no part; the parts stand in the text in their order."""
    left, at = set[str](), 0
    for part in parts:
        said = part.name if isinstance(part, Call) else part.text
        if said == "{}" and said not in text[at:]:
            continue  # no arguments were written
        for char in said:
            start = text.index(char, at)
            left |= set(text[at:start])
            at = start + 1
    return left | set(text[at:])


def test_arguments_are_told_as_they_come() -> None:
    """Nobody waits for the end of a call: its name is told once its arguments begin, and they piece by piece."""
    calls = ToolCalls("hermes")
    pieces = ["<tool_call>", '\n{"name": "f"', ', "arguments": ', '{"a": ', '"b', '"}', "}\n", "</tool_call>"]
    assert [calls.push(piece) for piece in pieces] == [
        [],
        [],
        [],
        [Call(0, "f"), Arguments(0, '{"a": ')],
        [Arguments(0, '"b')],
        [Arguments(0, '"}')],
        [],
        [],
    ]
    assert not calls.full and calls.flush() == []


def test_without_parallel_calls_the_first_one_ends_the_answer() -> None:
    """Whatever stands behind its last brace is not read."""
    for form, text in (("hermes", f"So: <tool_call>{WEATHER}"), ("llama3", WEATHER)):
        calls = ToolCalls(form, parallel=False)
        looks = [(calls.push(piece), calls.full) for piece in (text[:-1], "}" + text + " more")]
        assert [full for _, full in looks] == [False, True]
        assert told(looks[0][0])[1] == [("weather", ARGUMENTS)]
        assert looks[1][0] == calls.flush() == []


HOSTILE = [
    ("hermes", "<tool_call>" * 20_000),
    ("hermes", " " * 250_000),
    ("hermes", '<tool_call>{"arguments": {"a": "' + "<tool_call>" * 20_000),
    ("llama3", "\n<" * 100_000),
    ("llama3", '{"name": "f", "parameters": {}}' + ";" * 250_000),
]


@pytest.mark.parametrize(("form", "text"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_costs_what_its_length_costs(form: str, text: str) -> None:
    """CVE-2025-71379: a parser that looks back makes minutes of work of kilobytes. These take a second, one character
    at a time; the bound is generous, as the machine may be busy."""
    start = time.process_time()
    parts_of(form, list(text))
    assert time.process_time() - start < 5


@given(st.dictionaries(st.text(max_size=5), st.recursive(st.integers() | st.text(max_size=5), st.lists, max_leaves=8)))
def test_any_json_object_arrives_as_it_was_written(arguments: dict[str, object]) -> None:
    """Braces, quotes, backslashes and marks within strings are no structure."""
    written = json.dumps(arguments | {"mark": "</tool_call>{[\\"})
    text = f'<tool_call>{{"name": "f", "arguments": {written}}}</tool_call>'
    assert told(parts_of("hermes", list(text))) == ("", [("f", written)])
