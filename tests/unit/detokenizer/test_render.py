"""What clients read: OpenAI's chunks and bodies to the letter, and resumption from any id to exactly the rest."""

import json
from typing import Any

import pytest

from services.detokenizer.render import Group, render
from shared.frames import Frame
from shared.types import FinishReason, SamplingParams
from tests.unit.detokenizer.cases import EOS, Kind, Play, events, finished, ids, request, spec, started, tokens

KINDS: tuple[Kind, ...] = ("chat", "completion")
HEAD = {"id": "p", "created": 1700000000, "model": "demo"}
NONE_CACHED: dict[str, Any] = {"prompt_tokens_details": {"cached_tokens": 0}}
CHUNK = HEAD | {"object": "chat.completion.chunk"}


def frame(play: Play, cursor: str = "") -> Frame:
    found = play.sessions.frame("p", cursor)
    assert found is not None
    return found


def chat_chunk(index: int, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    return CHUNK | {"choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}]}


def test_a_streamed_chat_of_two_choices_reads_as_openai_writes_it() -> None:
    """Role chunks, text, ends, one usage chunk, [DONE]; each chunk's id says where its reader stands in each choice."""
    render = spec(choices=2, include_usage=True)
    play, (one, two) = Play(), [request(index=i, render=render) for i in range(2)]
    play.run(one, "Hi")
    play.run(two, " mill")
    n, m = len(ids("Hi")), len(ids(" mill"))
    usage = {"prompt_tokens": 5, "completion_tokens": n + m, "total_tokens": 5 + n + m} | NONE_CACHED
    role = {"role": "assistant", "content": ""}
    whole = frame(play)
    assert whole.last
    assert whole.status == 200
    assert events(whole.data) == [
        ("0,", chat_chunk(0, role) | {"usage": None}),
        ("0,0", chat_chunk(1, role) | {"usage": None}),
        (f"{n},0", chat_chunk(0, {"content": "Hi"}) | {"usage": None}),
        (f"{n + 1},0", chat_chunk(0, {}, "length") | {"usage": None}),
        (f"{n + 1},{m}", chat_chunk(1, {"content": " mill"}) | {"usage": None}),
        (f"{n + 1},{m + 1}", chat_chunk(1, {}, "length") | {"usage": None}),
        (f"{n + 1},{m + 1}", CHUNK | {"choices": [], "usage": usage}),
        (None, "[DONE]"),
    ]


def test_a_streamed_completion_has_text_and_no_roles() -> None:
    """The older API: object text_completion, text in each chunk, usage only if asked for."""
    play, one = Play(), request(render=spec("completion"))
    play.run(one, "Hi")
    n = len(ids("Hi"))

    def chunk(text: str, reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        return HEAD | {"object": "text_completion", "choices": [choice]}

    assert events(frame(play).data) == [
        (f"{n}", chunk("Hi", None)),
        (f"{n + 1}", chunk("", "length")),
        (None, "[DONE]"),
    ]


def test_one_chunk_is_sent_for_one_token() -> None:
    """A reader that keeps up gets each token in a frame of its own, and none for a token that shows nothing."""
    play, one = Play(), request()
    play.say(started(one))
    assert play.sessions.frame("p", "") is None
    half, rest = ids("\u65e5")[:-1], ids("\u65e5")[-1:]
    assert half
    play.say(tokens(one, 0, ids("s")))
    first = frame(play)
    assert [body["choices"][0]["delta"].get("content") for _, body in events(first.data)] == ["", "s"]
    play.say(tokens(one, 1, half))
    assert play.sessions.frame("p", first.cursor) is None
    play.say(tokens(one, 1 + len(half), rest))
    second = frame(play, first.cursor)
    assert second.after == first.cursor
    assert events(second.data) == [(str(1 + len(half) + 1), chat_chunk(0, {"content": "\u65e5"}))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("logprobs", [-1, 0])
def test_the_short_way_of_a_plain_stream_writes_what_the_long_one_does(kind: Kind, logprobs: int) -> None:
    """From wherever its reader stands, and at any time before its end."""
    sampling = SamplingParams(max_tokens=99, logprobs=logprobs)
    text, play, one = "mill \u65e5 turn", Play(), request(render=spec(kind), sampling=sampling)
    play.say(started(one))
    for offset, token in enumerate(ids(text)):
        play.say(tokens(one, offset, (token,)))
        group = Group("p", spec(kind), [play.sessions.get(one.id)])
        cursors = ["", *map(str, range(offset + 3))]
        short = [render(group, cursor) for cursor in cursors]
        assert group.plain
        group.plain = False
        assert short == [render(group, cursor) for cursor in cursors]


def test_held_back_text_rides_in_the_chunk_that_ends_the_choice() -> None:
    """What might have been a stop string turns out not to be one when nothing follows."""
    play, one = Play(), request(render=spec(stop=("turns!",)))
    play.run(one, "mill turn")
    *_, (_, last), _ = events(frame(play).data)
    assert last["choices"][0]["delta"] == {"content": "turn"}
    assert last["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_does_not_stream_is_one_body_when_all_choices_have_ended(kind: Kind) -> None:
    """Nothing before that; then the whole JSON, with usage."""
    play, (one, two) = Play(), [request(index=i, render=spec(kind, choices=2, stream=False)) for i in range(2)]
    play.run(two, " turns")
    assert play.sessions.frame("p", "") is None
    play.run(one, "The mill")
    whole = frame(play)
    assert (whole.status, whole.last, whole.after) == (200, True, "")
    total = len(ids(" turns")) + len(ids("The mill"))

    def choice(index: int, text: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        told = {"message": message} if kind == "chat" else {"text": text}
        return {"index": index, **told, "logprobs": None, "finish_reason": "length"}

    assert json.loads(whole.data) == HEAD | {
        "object": "chat.completion" if kind == "chat" else "text_completion",
        "choices": [choice(0, "The mill"), choice(1, " turns")],
        "usage": {"prompt_tokens": 5, "completion_tokens": total, "total_tokens": 5 + total} | NONE_CACHED,
    }


def test_the_finish_reason_tells_why_it_ended() -> None:
    """A stop id, a stop string and a used-up budget: only the last is `length`; a stop's own text is never shown."""
    for text, reason, shown, told in [
        ("The mill", FinishReason.LENGTH, "The mill", "length"),
        ("The mill</s>", FinishReason.STOP, "The mill", "stop"),
        ("The mill turns", FinishReason.LENGTH, "The m", "stop"),
    ]:
        render = spec(stop=("ill t",), stream=False, skip_special_tokens=False)
        play = Play()
        play.run(request(render=render), text, reason)
        choice = json.loads(frame(play).data)["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (shown, told)


def test_min_tokens_puts_stops_off() -> None:
    """Stop strings and stop ids before min_tokens are text; the usage counts every token."""
    text = "s s s</s> s"
    sampling = SamplingParams(max_tokens=99, stop_ids=(EOS,), min_tokens=len(ids(text)))
    play = Play()
    play.run(request(sampling=sampling, render=spec(stop=("s",), stream=False, skip_special_tokens=False)), text)
    body = json.loads(frame(play).data)
    assert body["choices"][0]["message"]["content"] == text
    assert body["usage"]["completion_tokens"] == len(ids(text))


def test_a_failure_before_anything_was_sent_is_a_status() -> None:
    """The client gets 500 and OpenAI's error body, whether it asked for a stream or not."""
    for stream in (True, False):
        play = Play()
        play.run(request(render=spec(stream=stream)), "", FinishReason.ERROR, "the card fell off")
        failed = frame(play)
        assert (failed.status, failed.last) == (500, True)
        assert json.loads(failed.data)["error"]["message"] == "the card fell off"


def test_a_failure_in_the_middle_of_a_stream_is_its_last_event() -> None:
    """Text that was generated is sent, then the error, and no [DONE]."""
    play, one = Play(), request()
    play.say(started(one), tokens(one, 0, ids("s")))
    first = frame(play)
    play.say(tokens(one, 1, ids("!")), finished(one, 2, FinishReason.ERROR, "broken"))
    rest = frame(play, first.cursor)
    assert (rest.status, rest.last) == (200, True)
    (_, chunk), (_, error) = events(rest.data)
    assert chunk["choices"][0]["delta"] == {"content": "!"}
    assert error["error"] == {"message": "broken", "type": "server_error", "param": None, "code": None}


def test_a_cancelled_stream_ends_as_others_do() -> None:
    """Whoever still reads it gets a last chunk, with the reason that clients know, and [DONE]; without a stream the
    status says that it was cancelled."""
    play, one = Play(), request(render=spec(include_usage=True))
    play.say(started(one), tokens(one, 0, ids("s")))
    cursor = frame(play).cursor
    play.say(finished(one, 1, FinishReason.CANCEL))
    rest = frame(play, cursor)
    (last, chunk), (_, usage), done = events(rest.data)
    assert (last, chunk) == ("2", chat_chunk(0, {}, "stop") | {"usage": None})
    assert usage["usage"]["completion_tokens"] == 1
    assert (done, rest.last) == ((None, "[DONE]"), True)
    assert [id for id, _ in events(frame(play, "2").data)] == ["2", None]
    play = Play()
    play.run(request(render=spec(stream=False)), "s", FinishReason.CANCEL)
    assert (frame(play).status, frame(play).last) == (499, True)


def test_a_cancelled_stream_ends_when_all_of_its_choices_have() -> None:
    play, (one, two) = Play(), [request(index=i, render=spec(choices=2)) for i in range(2)]
    play.say(started(one), tokens(one, 0, ids("s")), started(two), finished(one, 1, FinishReason.CANCEL))
    first = frame(play)
    assert not first.last
    play.say(finished(two, 0, FinishReason.CANCEL))
    rest = frame(play, first.cursor)
    assert rest.last
    assert events(rest.data) == [("2,1", chat_chunk(1, {}, "stop")), (None, "[DONE]")]
