"""How logprobs are asked for: in a chat's way, in a completion's, of prompts."""

from typing import Any

import pytest

from services.gateway.limits import check_scores
from shared.errors import ClientError
from tests.unit.gateway.test_validation import chat, completion


def test_logprobs_are_asked_for_in_a_chats_way_and_in_a_completions() -> None:
    """A flag and a number there, one number here; 20 tokens at most beside the drawn one."""
    assert chat().top_scores == completion().top_scores == chat(logprobs=False).top_scores == -1
    assert chat(logprobs=True).top_scores == completion(logprobs=0).top_scores == 0
    assert chat(logprobs=True, top_logprobs=7).top_scores == completion(logprobs=7).top_scores == 7
    wrong: list[tuple[Any, str, Any]] = [
        *((chat, "logprobs", value) for value in (0, 1, "true")),
        *((chat, "top_logprobs", value) for value in (-1, 21, True, 1.0, 3)),  # 3: without logprobs
        *((completion, "logprobs", value) for value in (True, False, -1, 21, "5")),
        (completion, "top_logprobs", 3),
    ]
    for make, name, value in wrong:
        with pytest.raises(ClientError) as refusal:
            make(**{name: value})
        assert refusal.value.param == name


def test_logprobs_of_prompts_come_with_whole_answers_and_with_an_echo() -> None:
    """`prompt_logprobs` of both endpoints, not of streams; an echo's logprobs are those of its answer."""
    assert chat().prompt_scores == completion(echo=True).prompt_scores == completion(logprobs=3).prompt_scores == -1
    assert chat(prompt_logprobs=0).prompt_scores == 0
    assert completion(echo=True, logprobs=3).prompt_scores == 3
    assert completion(echo=True, logprobs=3, prompt_logprobs=5).prompt_scores == 5
    for make, fields, name in (
        (chat, {"prompt_logprobs": 21}, "prompt_logprobs"),
        (chat, {"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        (completion, {"prompt_logprobs": True}, "prompt_logprobs"),
        (completion, {"echo": 1}, "echo"),
        (chat, {"echo": True}, "echo"),
    ):
        with pytest.raises(ClientError) as refusal:
            make(**fields)
        assert refusal.value.param == name


@pytest.mark.parametrize(("beside", "most"), [(0, 16_384), (1, 13_107), (20, 2_730)])
def test_no_more_of_prompts_is_told_than_others_can_wait_for(beside: int, most: int) -> None:
    check_scores(most, beside, "prompt_logprobs")
    with pytest.raises(ClientError, match=f"at most {most} prompt tokens") as refusal:
        check_scores(most + 1, beside, "prompt_logprobs")
    assert refusal.value.param == "prompt_logprobs"
