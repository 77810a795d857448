"""What clients read: OpenAI's chunks and bodies to the letter, and resumption from any id to exactly the rest."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.frames import Frame
from shared.messages import Record
from shared.types import FinishReason, SamplingParams
from tests.unit.detokenizer.cases import EOS, Kind, Play, deltas, events, finished, ids, request, spec, started, tokens

KINDS: tuple[Kind, ...] = ("chat", "completion")
HEAD = {"id": "p", "created": 1700000000, "model": "demo"}
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
    usage = {"prompt_tokens": 5, "completion_tokens": n + m, "total_tokens": 5 + n + m}
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
        "usage": {"prompt_tokens": 5, "completion_tokens": total, "total_tokens": 5 + total},
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


@pytest.mark.parametrize("cursor", ["x", "1,2", "-1", "1.5", "99", "9" * 30, "\u0663", " 1"])
def test_a_cursor_that_is_not_ours_is_an_error_of_the_client(cursor: str) -> None:
    """A wrong Last-Event-ID is answered with 400 and harms nobody."""
    play = Play()
    play.run(request(), "s s")
    refused = frame(play, cursor)
    assert (refused.status, refused.last, refused.after) == (400, True, None)
    assert json.loads(refused.data)["error"]["param"] == "Last-Event-ID"


def test_a_cursor_ahead_of_a_session_that_is_being_rebuilt_waits() -> None:
    """After a restart a gateway may know more than the detokenizer has read again: it gets what follows, once."""
    play, one = Play(), request()
    play.say(started(one), tokens(one, 0, ids("s")))
    assert play.sessions.frame("p", "2") is None
    play.say(tokens(one, 1, ids("!")), tokens(one, 2, ids("s")))
    assert events(frame(play, "2").data) == [("3", chat_chunk(0, {"content": "s"}))]


texts = st.text(alphabet="ab \u00e9\u65e5\U0001f389!", max_size=12)


def lives(choices: Sequence[str], kind: Kind, order: Sequence[int]) -> list[Record]:
    """The records of all choices, mixed; of each they are in order."""
    render = spec(kind, choices=len(choices), include_usage=True, stop=("!!",))
    queues: list[list[Record]] = []
    for index, text in enumerate(choices):
        one = request(index=index, render=render)
        steps: list[Record] = [tokens(one, offset, [token]) for offset, token in enumerate(ids(text))]
        queues.append([started(one), *steps, finished(one, len(steps), FinishReason.LENGTH)])
    turns = [*order, *(i for i, queue in enumerate(queues) for _ in queue)]
    return [queues[turn % len(queues)].pop(0) for turn in turns if queues[turn % len(queues)]]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(texts, min_size=1, max_size=3),
    st.sampled_from(KINDS),
    st.lists(st.integers(0, 2), max_size=20),
    st.lists(st.booleans(), max_size=60),
)
def test_however_a_stream_is_cut_into_frames_its_text_is_the_same(
    choices: list[str], kind: Kind, order: list[int], looks: list[bool]
) -> None:
    """A reader that looks after each step and one that only looks in the end have the same text, ends and usage; and
    resuming behind any event that they saw gives exactly what follows it."""
    live, seen = Play(), [Frame("p", "", "")]
    for look, record in zip([*looks, *[False] * 200], lives(choices, kind, order), strict=False):
        live.say(record)
        if look and not seen[-1].last and (news := live.sessions.frame("p", seen[-1].cursor)):
            seen.append(news)
    if not seen[-1].last:
        seen.append(frame(live, seen[-1].cursor))
    assert seen[-1].last
    assert [got.after for got in seen[1:]] == [got.cursor for got in seen[:-1]]
    data = "".join(got.data for got in seen)
    once = frame(live).data
    assert deltas(data) == deltas(once)
    assert events(data)[-2:] == events(once)[-2:]
    assert sum(_ends(body) for _, body in events(data)) == len(choices)
    _assert_resumable(live, data)


def _ends(body: Any) -> bool:
    return isinstance(body, dict) and any(choice["finish_reason"] for choice in body["choices"])


def _assert_resumable(live: Play, data: str) -> None:
    seen = events(data)
    for position, (id, _) in enumerate(seen[:-2]):
        assert id is not None
        before = "".join(re.findall(r"(?:id: .*\n)?data: .*\n\n", data)[: position + 1])
        after = frame(live, id)
        assert after.last
        joined = deltas(before + after.data)
        assert joined == deltas(data)
        assert sum(_ends(body) for _, body in events(before + after.data)) == sum(_ends(body) for _, body in seen)
        assert events(after.data)[-2:] == seen[-2:]
