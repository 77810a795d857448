"""Resumption: from any id to exactly the rest, however the stream was cut into frames."""

import json
import re
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.frames import Frame
from shared.messages import Markup, Record
from shared.types import FinishReason
from tests.unit.detokenizer.cases import (
    Kind,
    Play,
    deltas,
    events,
    finished,
    ids,
    request,
    spec,
    spoken,
    started,
    tokens,
)
from tests.unit.detokenizer.test_render import KINDS, chat_chunk, frame


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


def lives(choices: Sequence[str], kind: Kind, order: Sequence[int], markup: Markup | None = None) -> list[Record]:
    """The records of all choices, mixed; of each they are in order."""
    render = spec(kind, choices=len(choices), include_usage=True, stop=("!!",), markup=markup)
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


HERMES = ["<think>", "</think>", "a", "\n", '<tool_call>{"name": "f", "arguments": {', '"b": "', '"}}</tool_call>', "<"]
HERMES += ["!!", '<tool_call>{"name": "g"}</tool_call>', "\u65e5", "<tool_call>{}"]
marked = st.lists(st.sampled_from(HERMES), max_size=7).map("".join)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(marked, min_size=1, max_size=2),
    st.builds(
        Markup,
        tools=st.sampled_from(["hermes", "none"]),
        reasoning=st.sampled_from(["think", "none"]),
        parallel=st.booleans(),
        show_reasoning=st.booleans(),
        thinking=st.booleans(),
    ),
    st.lists(st.integers(0, 1), max_size=20),
    st.lists(st.booleans(), max_size=60),
)
def test_reasoning_and_calls_are_resumed_as_text_is(
    choices: list[str], markup: Markup, order: list[int], looks: list[bool]
) -> None:
    """However a stream was cut, and behind whichever event it is taken up again: the same reasoning, text and calls,
    each call begun once and with one id, and they are those of the whole body."""
    live, seen = Play(), [Frame("p", "", "")]
    for look, record in zip(chain(looks, repeat(False)), lives(choices, "chat", order, markup), strict=False):
        live.say(record)
        if look and not seen[-1].last and (news := live.sessions.frame("p", seen[-1].cursor)):
            seen.append(news)
    if not seen[-1].last:
        seen.append(frame(live, seen[-1].cursor))
    data = "".join(got.data for got in seen)
    once = spoken(frame(live).data)
    assert spoken(data) == once
    for position, (id, _) in enumerate(events(data)[:-2]):
        assert id is not None
        before = "".join(re.findall(r"(?:id: .*\n)?data: .*\n\n", data)[: position + 1])
        assert spoken(before + frame(live, id).data) == once
    _assert_whole(live, once)


def _assert_whole(live: Play, once: dict[int, dict[Any, Any]]) -> None:
    """The body of the same answers, without a stream."""
    group = live.sessions._groups["p"]
    for choice in json.loads(group.chunks.body(group.started))["choices"]:
        message, streamed = choice["message"], once[choice["index"]]
        assert (message["content"] or "", message.get("reasoning_content", "")) == (
            streamed["content"],
            streamed["reasoning_content"],
        )
        calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls", ())]
        assert calls == [streamed[i] for i in range(len(calls))] and len(calls) not in streamed
        assert streamed["ends"] == [choice["finish_reason"]]
