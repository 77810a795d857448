"""What of an answer's end and of its special tokens a client may ask to see, and what each chunk says of usage."""

import json
from typing import Any

import pytest

from shared.frames import Frame
from shared.types import FinishReason
from tests.unit.detokenizer.cases import Play, events, ids, request, spec

TEXT = "The <|turn|>mill</s>"  # its last token is the end of the sequence


def frame(play: Play, cursor: str = "") -> Frame:
    found = play.sessions.frame("p", cursor)
    assert found is not None
    return found


def text_of(text: str, reason: FinishReason = FinishReason.STOP, **render: Any) -> str:
    play = Play()
    play.run(request(render=spec("completion", stream=False, **render)), text, reason)
    shown: str = json.loads(frame(play).data)["choices"][0]["text"]
    return shown


@pytest.mark.parametrize(
    ("render", "shown"),
    [
        ({}, "The mill"),
        ({"skip_special_tokens": False}, "The <|turn|>mill"),
        ({"include_stop": True}, "The mill"),
        ({"include_stop": True, "skip_special_tokens": False}, TEXT),
        ({"include_stop": True, "stop": ("mi",)}, "The mi"),
        ({"stop": ("mi",)}, "The "),
    ],
)
def test_special_tokens_and_what_stops_are_shown_on_demand(render: dict[str, Any], shown: str) -> None:
    """A stop token that is special is shown where both are asked for, as in vLLM."""
    assert text_of(TEXT, **render) == shown


def test_each_chunk_says_what_was_used_up_to_it() -> None:
    """Of all choices together, as far as the reader of this chunk has been told; the same after a resumption."""
    render = spec(choices=2, include_usage=True, continuous_usage=True)
    play = Play()
    for index, text in enumerate(("Hi", " mill")):
        play.run(request(index=index, render=render), text)
    n, m = len(ids("Hi")), len(ids(" mill"))
    whole = events(frame(play).data)
    used = [body["usage"]["completion_tokens"] for _, body in whole[:-1]]
    assert used == [0, 0, n, n, n + m, n + m, n + m]
    assert all(body["usage"]["total_tokens"] == 5 + count for count, (_, body) in zip(used, whole, strict=False))
    assert events(frame(play, str(whole[2][0])).data) == whole[3:]
