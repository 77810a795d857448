"""For each parameter that docs/api.md says is taken: values that show it, and where what they change is seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.messages import GenerateRequest
from tests.unit.gateway.documented import ENDPOINTS, Key
from tests.unit.gateway.templates_for_tests import WEATHER

Requests = Sequence[GenerateRequest]
DETOKENIZER = "tests/unit/detokenizer/"
WHOLE = "test_render.py::test_a_streamed_chat_of_two_choices_reads_as_openai_writes_it"
PROMPT_SCORES = "test_scores.py::test_a_prompts_logprobs_are_told_by_id_and_outlive_their_owner"
ECHO = "test_scores.py::test_an_echo_stands_before_the_text_and_its_scores_before_the_others"
CHAT_SCORES = "test_scores.py::test_a_chats_tokens_are_told_with_their_bytes_and_the_likeliest"
STREAM = {"stream": True}
USAGE = {"stream_options": {"include_usage": True}} | STREAM
TOOLS = {"tools": [WEATHER]}
SAID = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Wel"}]}


@dataclass(frozen=True, slots=True)
class Case:
    """`fields` make `sees` tell `want`, which it does not tell of `beside` alone. `shown`: the test of what a client
    reads of it, where that is made elsewhere."""

    fields: Mapping[str, Any]
    sees: Callable[[Requests], Any]
    want: Any
    beside: Mapping[str, Any] = field(default_factory=dict)
    shown: str = ""


def text(requests: Requests) -> str:
    """Of the prompt, whose tokens are bytes and two specials."""
    return bytes(id for id in requests[0].prompt if id < 256).decode()


def sampling(name: str, value: Any, want: Any = None) -> Case:
    """A parameter whose value is one of the sampler's."""
    return Case({name: value}, lambda rs: getattr(rs[0].sampling, name), value if want is None else want)


def drawn(name: str, value: Any, at: str, want: Any, **beside: Any) -> Case:
    return Case({name: value}, lambda rs: getattr(rs[0].sampling, at), want, beside)


def rendered(name: str, value: Any, at: str, want: Any, shown: str = "", **beside: Any) -> Case:
    return Case({name: value}, lambda rs: getattr(rs[0].render, at), want, beside, shown)


def asked(name: str, value: Any, at: str, want: Any, **beside: Any) -> Case:
    return Case({name: value}, lambda rs: getattr(rs[0], at), want, beside)


def reads(name: str, value: Any, want: str, **beside: Any) -> Case:
    return Case({name: value}, text, want, beside)


BOTH: Mapping[str, Case] = {
    "model": rendered("model", "other", "model", "other", WHOLE),
    "max_tokens": sampling("max_tokens", 3),
    "min_tokens": sampling("min_tokens", 3),
    "temperature": sampling("temperature", 0.25),
    "top_p": sampling("top_p", 0.5),
    "top_k": sampling("top_k", 7),
    "min_p": sampling("min_p", 0.125),
    "presence_penalty": sampling("presence_penalty", 1.5),
    "frequency_penalty": sampling("frequency_penalty", -1.5),
    "repetition_penalty": sampling("repetition_penalty", 1.25),
    "seed": sampling("seed", 42),
    "n": Case({"n": 3}, lambda rs: [r.sampling.seed for r in rs], [7, 8, 9]),
    "stop": rendered("stop", "END", "stop", ("END",), "test_stops.py::test_a_stop_string_over_pieces"),
    "stop_token_ids": drawn("stop_token_ids", [9], "stop_ids", (9, 257)),
    "ignore_eos": drawn("ignore_eos", True, "stop_ids", ()),
    "logit_bias": Case(
        {"logit_bias": {"5": 2}}, lambda rs: (rs[0].sampling.bias_ids, rs[0].sampling.biases), ((5,), (2.0,))
    ),
    "allowed_token_ids": drawn("allowed_token_ids", [5, 6], "allowed_ids", (5, 6)),
    "bad_words": drawn("bad_words", ["x"], "banned", ((120,), (32, 120))),
    "response_format": Case(
        {"response_format": {"type": "json_object"}}, lambda rs: bool(rs[0].sampling.grammar), True
    ),
    "structured_outputs": Case(
        {"structured_outputs": {"choice": ["a", "b"]}}, lambda rs: bool(rs[0].sampling.grammar), True
    ),
    "stream": rendered("stream", True, "stream", True, WHOLE),
    "stream_options": Case(USAGE, lambda rs: rs[0].render.include_usage, True, STREAM),
    "stream_options.include_usage": Case(
        USAGE,
        lambda rs: rs[0].render.include_usage,
        True,
        STREAM,
        WHOLE,
    ),
    "stream_options.continuous_usage_stats": Case(
        STREAM | {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        lambda rs: rs[0].render.continuous_usage,
        True,
        USAGE,
        "test_shown.py::test_each_chunk_says_what_was_used_up_to_it",
    ),
    "include_stop_str_in_output": rendered(
        "include_stop_str_in_output",
        True,
        "include_stop",
        True,
        "test_shown.py::test_special_tokens_and_what_stops_are_shown_on_demand",
    ),
    "skip_special_tokens": rendered(
        "skip_special_tokens",
        False,
        "skip_special_tokens",
        False,
        "test_shown.py::test_special_tokens_and_what_stops_are_shown_on_demand",
    ),
    "truncate_prompt_tokens": Case({"truncate_prompt_tokens": 1}, lambda rs: len(rs[0].prompt), 1),
    "cache_salt": asked("cache_salt", "x", "cache_salt", "0123456789ab/x"),
    "priority": asked("priority", 3, "priority", 3),
    "prompt_logprobs": rendered(
        "prompt_logprobs",
        2,
        "prompt_logprobs",
        True,
        PROMPT_SCORES,
    ),
}
CHAT: Mapping[str, Case] = {
    "messages": reads("messages", SAID["messages"], "[user]hi[assistant]Wel[assistant]"),
    "max_completion_tokens": drawn("max_completion_tokens", 3, "max_tokens", 3),
    "tools": Case(TOOLS, lambda rs: "weather" in text(rs), True),
    "tool_choice": reads("tool_choice", "none", "[user]hi[assistant]", **TOOLS),
    "parallel_tool_calls": Case(
        TOOLS | {"parallel_tool_calls": False},
        lambda rs: rs[0].render.markup and rs[0].render.markup.parallel,
        False,
        TOOLS,
        "test_render_markup.py::test_without_parallel_calls_the_answer_ends_with_the_first",
    ),
    "reasoning_effort": reads("reasoning_effort", "low", "[user]hi[assistant](low)"),
    "include_reasoning": Case(
        {"include_reasoning": False},
        lambda rs: rs[0].render.markup and rs[0].render.markup.show_reasoning,
        False,
        shown="test_render_markup.py::test_reasoning_that_nobody_wants_is_not_told_but_counted",
    ),
    "chat_template_kwargs": reads(
        "chat_template_kwargs", {"enable_thinking": False}, "[user]hi[assistant]<think>\n\n</think>\n\n"
    ),
    "add_generation_prompt": reads("add_generation_prompt", False, "[user]hi"),
    "continue_final_message": reads("continue_final_message", True, "[user]hi[assistant]Wel", **SAID),
    "add_special_tokens": Case({"add_special_tokens": True}, lambda rs: rs[0].prompt[0], 256),
    "logprobs": Case(
        {"logprobs": True},
        lambda rs: rs[0].sampling.logprobs,
        0,
        shown=CHAT_SCORES,
    ),
    "top_logprobs": Case(
        {"logprobs": True, "top_logprobs": 3}, lambda rs: rs[0].sampling.logprobs, 3, {"logprobs": True}, CHAT_SCORES
    ),
}
COMPLETIONS: Mapping[str, Case] = {
    "prompt": reads("prompt", "you", "you"),
    "add_special_tokens": Case({"add_special_tokens": False}, lambda rs: rs[0].prompt, (104, 105)),
    "logprobs": Case(
        {"logprobs": 3},
        lambda rs: rs[0].sampling.logprobs,
        3,
        shown="test_scores.py::test_a_completions_tokens_are_told_with_their_places",
    ),
    "echo": rendered(
        "echo",
        True,
        "echo",
        True,
        ECHO,
    ),
}
CASES: Mapping[Key, Case] = {
    (endpoint, name): case
    for where, cases in (("both", BOTH), ("chat", CHAT), ("completions", COMPLETIONS))
    for name, case in cases.items()
    for endpoint in ENDPOINTS[where]
}
NO_EFFECT: Mapping[str, Any] = {
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "p",
    "metadata": {"k": "v"},
    "store": False,
    "service_tier": "auto",
    "spaces_between_special_tokens": False,
    "truncation_side": "left",
}
