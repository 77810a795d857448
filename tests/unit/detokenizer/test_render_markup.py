"""Chats whose answers hold reasoning and calls of tools: what clients read, to the letter."""

import json
from itertools import pairwise
from typing import Any

import pytest

from services.detokenizer.decode import Vocabulary
from services.detokenizer.parts import Arguments, Call, Reasoning, call_id
from services.detokenizer.session import Session
from shared.messages import Markup, RenderSpec
from shared.types import FinishReason
from tests.unit.detokenizer.cases import TOKENIZER, Play, events, finished, ids, request, spec, spoken, started, tokens
from tests.unit.detokenizer.test_render import chat_chunk, frame
from tests.unit.detokenizer.tokenizers_for_tests import byte_level

CALL = '<tool_call>\n{"name": "mill", "arguments": {"turns": 3}}\n</tool_call>'
TEXT = f"<think>\nThe river\n</think>\n\nI turn.\n{CALL}\n{CALL}"
BOTH = Markup(tools="hermes", reasoning="think")


def render(markup: Markup = BOTH, **changes: Any) -> RenderSpec:
    return spec(markup=markup, **changes)


def whole(markup: Markup, text: str, reason: FinishReason = FinishReason.STOP, **changes: Any) -> dict[str, Any]:
    """The body of an answer that does not stream."""
    play = Play()
    play.run(request(render=render(markup, stream=False, **changes)), text, reason)
    body: dict[str, Any] = json.loads(frame(play).data)
    return body


def test_a_whole_body_has_reasoning_text_and_calls_each_in_its_place() -> None:
    """`finish_reason` is `tool_calls`; the usage says how many tokens were thought."""
    body = whole(BOTH, TEXT)
    function = {"name": "mill", "arguments": '{"turns": 3}'}
    calls = [{"id": call_id("p.0", i), "type": "function", "function": function} for i in range(2)]
    assert calls[0]["id"] != calls[1]["id"]
    message = {"role": "assistant", "content": "I turn.", "refusal": None}
    message |= {"reasoning_content": "The river", "tool_calls": calls}  # type: ignore[dict-item]
    assert body["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}]
    so_far = [TOKENIZER.decode(ids(TEXT)[:count]) for count in range(len(ids(TEXT)) + 1)]
    thought = sum("<think>" in after and "</think>" not in before for before, after in pairwise(so_far))
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": thought}
    assert body["usage"]["completion_tokens"] == len(ids(TEXT))


def test_the_content_is_null_only_beside_calls() -> None:
    tools = Markup(tools="hermes")
    called, plain = whole(tools, CALL)["choices"][0], whole(tools, "Hi ")["choices"][0]
    assert (called["message"]["content"], called["finish_reason"]) == (None, "tool_calls")
    assert plain["message"] == {"role": "assistant", "content": "Hi ", "refusal": None}
    assert plain["finish_reason"] == "stop"
    assert "completion_tokens_details" not in whole(tools, CALL)["usage"]


def test_a_streamed_call_reads_as_openai_writes_it() -> None:
    """Index, id, type and name once, with the first of the arguments; then more arguments; then the end."""
    play, one = Play(), request(render=render())
    pieces = [
        "<think>Hm</think>I turn.",
        '\n<tool_call>{"name": "mill", "arguments": {',
        '"turns": 3',
        "}}</tool_call>",
    ]
    play.say(started(one))
    frames, cursor, offset = [], "", 0
    for piece in pieces:
        play.say(tokens(one, offset, ids(piece)))
        offset += len(ids(piece))
        frames.append(frame(play, cursor))
        cursor = frames[-1].cursor
    play.say(finished(one, offset, FinishReason.STOP))
    frames.append(frame(play, cursor))
    (_, role), *told = [event for one_frame in frames for event in events(one_frame.data)]
    assert role == chat_chunk(0, {"role": "assistant", "content": ""})
    first = {"index": 0, "id": call_id("p.0", 0), "type": "function"}

    def call(**fields: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0} | fields]}

    assert [body for _, body in told] == [
        chat_chunk(0, {"reasoning_content": "Hm", "content": "I turn."}),
        chat_chunk(0, call(**first, function={"name": "mill", "arguments": "{"})),
        chat_chunk(0, call(function={"arguments": '"turns": 3'})),
        chat_chunk(0, call(function={"arguments": "}"})),
        chat_chunk(0, {}, "tool_calls"),
        "[DONE]",
    ]


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CANCEL])
def test_a_call_that_is_cut_off_has_the_arguments_so_far(reason: FinishReason) -> None:
    """The reason says why, as it does for text."""
    text = CALL[: CALL.index("3")]
    play = Play()
    play.run(request(render=render()), text, reason)
    said = spoken(frame(play).data)[0]
    assert (said[0]["name"], said[0]["arguments"]) == ("mill", '{"turns": ')
    assert said["ends"] == ["length" if reason is FinishReason.LENGTH else "stop"]


def test_what_was_held_back_as_a_call_is_text_when_nothing_follows() -> None:
    """In the last chunk, as text that might have been a stop string."""
    for text in ('<tool_call>{"name": "mi', "so\n<tool_"):
        play = Play()
        play.run(request(render=render()), text)
        said = spoken(frame(play).data)[0]
        assert (said["content"], said["ends"]) == (text, ["length"])
        assert whole(BOTH, text)["choices"][0]["message"]["content"] == text


def test_a_stop_string_ends_an_answer_within_a_call_too() -> None:
    """The rest counts for nothing; what was held back until then is told."""
    play = Play()
    play.run(request(render=render(stop=("3}",))), TEXT)
    said = spoken(frame(play).data)[0]
    assert (said[0]["arguments"], said["ends"]) == ('{"turns": ', ["tool_calls"])
    assert whole(BOTH, "so\n<tool_call>\n{}", stop=("{}",))["choices"][0]["message"]["content"] == "so\n<tool_call>\n"


def test_without_parallel_calls_the_answer_ends_with_the_first() -> None:
    """As with a stop string: the engine is told to stop, and what it sent meanwhile is not counted."""
    one = request(render=render(Markup(tools="hermes", parallel=False)))
    play = Play()
    play.say(started(one))
    news = play.say(tokens(one, 0, ids(TEXT)))
    assert news.overrun == {"p.0": "stop"} and news.ended[0].end is FinishReason.STOP
    said = spoken(frame(play).data)[0]
    assert said[0]["arguments"] == '{"turns": 3}' and 1 not in said
    assert said["ends"] == ["tool_calls"]
    assert len(news.ended[0].ids) < len(ids(TEXT[: -len(CALL)]))


def test_reasoning_that_nobody_wants_is_not_told_but_counted() -> None:
    shown, dropped = whole(BOTH, TEXT), whole(Markup(reasoning="think", show_reasoning=False), TEXT)
    assert "reasoning_content" not in dropped["choices"][0]["message"]
    assert dropped["choices"][0]["message"]["content"] == f"I turn.\n{CALL}\n{CALL}"
    assert dropped["usage"] == shown["usage"]


@pytest.mark.parametrize(
    ("markup", "prompt"),
    [
        (Markup(reasoning="think"), "turn<think>\n"),
        (Markup(reasoning="think", thinking=True), "Once"),
    ],
)
def test_a_block_that_the_prompt_has_opened_is_closed_by_the_answer(markup: Markup, prompt: str) -> None:
    """The template wrote `<think>`, or the message that is continued was within it."""
    play = Play()
    play.run(request(render=render(markup, stream=False), prompt=ids(prompt)), "The mill</think>\n\nturns")
    message = json.loads(frame(play).data)["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("The mill", "turns")


def test_marks_that_are_special_tokens_are_seen_and_others_are_not() -> None:
    """Llama 3's `<|python_tag|>`, and `<think>` in some vocabularies: markup needs them, a plain answer shows none."""
    text = '<|turn|><think>a</think><|python_tag|>{"name": "mill", "parameters": {}}'
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|python_tag|>", "<think>", "</think>"])
    vocabulary, all_ids = Vocabulary(tokenizer), tuple(tokenizer.encode(text).ids)
    markup = Markup(tools="llama3", reasoning="think")
    session = Session(request(render=render(markup), output=all_ids), vocabulary, None)
    session.finish(FinishReason.STOP, "")
    assert session.answer and session.finish_reason == "tool_calls"
    thought, call, *arguments = session.answer.parts
    assert (thought, call) == (Reasoning("a"), Call(0, "mill"))
    assert "".join(part.text for part in arguments if isinstance(part, Arguments)) == "{}"
    assert session.answer.reasoning_tokens == 3
    plain = Session(request(output=all_ids), vocabulary, None)
    assert plain.text == 'a{"name": "mill", "parameters": {}}'


def test_an_answer_built_again_from_its_tokens_says_the_same() -> None:
    """After a restart, from an outcome, by another process: the ids of its calls too."""
    for cut in range(len(ids(TEXT)) + 1):
        play, one = Play(), request(render=render())
        play.say(started(one), tokens(one, 0, ids(TEXT)[:cut]))
        again = Play()
        moved = request(render=render(), output=ids(TEXT)[:cut], attempt=1)
        again.say(started(moved))
        assert again.sessions.frame("p", "") == play.sessions.frame("p", "")
