"""Calls that must come: what the grammar allows is what the detokenizer reads as calls."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import llguidance
import orjson
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from services.detokenizer.answer import Answer
from services.detokenizer.parts import Call, message
from services.gateway.callgrammar import call_grammar, frees_text
from services.gateway.tools import Tool
from shared.messages import Markup
from tests.unit.detokenizer.tokenizers_for_tests import id_of

MARKS = ("<tool_call>", "</tool_call>", "<think>", "</think>")
DEFINED = {"$ref": "#/$defs/days"}
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": DEFINED},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"days": {"type": "integer"}},
}
TOOLS = [
    Tool.model_validate({"type": "function", "function": {"name": "weather", "parameters": WEATHER}}),
    Tool.model_validate({"type": "function", "function": {"name": "now"}}),
]
ULM, NOW = '{"name": "weather", "arguments": {"city": "Ulm", "days": 2}}', '{"name": "now", "arguments": {}}'
FORMS = ("hermes", "llama3")


def a_tokenizer(marks: Sequence[str]) -> Tokenizer:
    """Of bytes, with these words as tokens of their own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: id for id, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<eos>", special=True)])
    tokenizer.add_tokens([AddedToken(mark, special=False) for mark in marks])
    return tokenizer


def allows(lark: str, text: str, marks: Sequence[str]) -> bool:
    """Is it a whole answer?"""
    tokenizer = a_tokenizer(marks)
    inner = llguidance.LLTokenizer(tokenizer.to_str(), eos_token=[id_of(tokenizer, "<eos>")])
    matcher = llguidance.LLMatcher(inner, orjson.dumps({"grammars": [{"lark_grammar": lark}]}).decode(), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    ids = tokenizer.encode(text).ids
    return bool(matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting())


def written(form: str, *calls: str) -> str:
    """As the model's template writes them."""
    if form == "hermes":
        return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)
    return "; ".join(call.replace('"arguments"', '"parameters"') for call in calls)


@pytest.mark.parametrize(("form", "marks"), [*product(FORMS, [MARKS, ()])])
def test_only_calls_of_these_tools_that_keep_to_their_schemas_are_allowed(form: str, marks: Sequence[str]) -> None:
    """Whether the marks are tokens of their own or spelled; references within a schema are its own."""
    lark = call_grammar(form, TOOLS, marks)
    for calls in ([ULM], [NOW], [ULM, NOW, ULM]):
        assert allows(lark, written(form, *calls), marks)
    for text in (
        "",
        "It rains.",
        written(form, ULM)[:-1],
        written(form, ULM) + "x",
        written(form, ULM.replace("2", '"2"')),
        written(form, NOW.replace("now", "then")),
        "<think>x</think>" + written(form, NOW),
    ):
        assert not allows(lark, text, marks), text


@pytest.mark.parametrize("form", FORMS)
def test_one_call_is_one(form: str) -> None:
    lark = call_grammar(form, TOOLS, MARKS, parallel=False)
    assert allows(lark, written(form, ULM), MARKS)
    assert not allows(lark, written(form, ULM, NOW), MARKS)


@pytest.mark.parametrize(("form", "marks"), [*product(FORMS, [MARKS, ()])])
def test_a_model_that_thinks_may_do_so_first(form: str, marks: Sequence[str]) -> None:
    """And must come to an end of it, whatever it thinks of."""
    call = written(form, ULM)
    for opened, text, allowed in (
        (False, call, True),
        (False, f"<think>\nHm, {{}} and\n</think>\n\n{call}", True),
        (False, f"<think>{call}", False),
        (True, f"\nHm\n</think>\n\n{call}", True),
        (True, f"Hm</think>{call}", True),
        (True, call, False),
    ):
        lark = call_grammar(form, TOOLS, marks, thinks=True, opened=opened)
        assert allows(lark, text, marks) == allowed, (opened, text)


@pytest.mark.parametrize("form", FORMS)
def test_calls_that_may_come_keep_to_their_schemas_and_text_is_free(form: str) -> None:
    """What strict tools ask for where the model decides. A mark that the vocabulary spells cannot be told from text."""
    lark = call_grammar(form, TOOLS, MARKS, must=False, thinks=True)
    for text in ("It {rains} <b>.\n", "", written(form, ULM), written(form, ULM, NOW), "<think>\nHm\n</think>\n\nSo."):
        assert allows(lark, text, MARKS), text
    assert allows(lark, "So.\n" + written(form, ULM) + "\nYes", MARKS)  # behind text Llama's is text
    for text in (written(form, ULM.replace("2", '"2"')), written(form, NOW.replace("now", "then")), "<think>Hm"):
        assert not allows(lark, text, MARKS), text
    one = call_grammar(form, TOOLS, MARKS, must=False, parallel=False)
    assert allows(one, written(form, NOW), MARKS) and not allows(one, written(form, NOW, NOW), MARKS)
    assert frees_text(form, MARKS) and frees_text(form, ()) == (form == "llama3")


@pytest.mark.parametrize("form", FORMS)
def test_what_it_allows_is_read_as_calls(form: str) -> None:
    """The two ends of the bus agree on the form."""
    markup = Markup(tools=form, reasoning="think")  # type: ignore[arg-type]
    answer = Answer(markup, "")
    answer.accept("<think>Hm</think>\n\n" + written(form, ULM, NOW))
    answer.finish()
    assert [part.name for part in answer.parts if isinstance(part, Call)] == ["weather", "now"]
    told = message(answer.parts, "p.0")
    assert (told["content"], told["reasoning_content"]) == (None, "Hm")
