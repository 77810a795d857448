"""`usage.prompt_tokens_details.cached_tokens`: what the first engine found, however often a request moves then."""

import json
from dataclasses import replace
from typing import Any

import pytest

from services.detokenizer.sessions import News, Sessions
from shared import codec
from shared.messages import Cached, Checkpoint, Outcome, Tokens
from shared.types import FinishReason
from tests.unit.detokenizer.cases import ENGINE, VOCABULARY, Play, events, finished, ids, request, spec, started, tokens

HI = ids("Hi")


def cached(play: Play | Sessions, cursor: str = "") -> int:
    sessions = play if isinstance(play, Sessions) else play.sessions
    frame = sessions.frame("p", cursor)
    assert frame is not None
    counted: int = json.loads(frame.data)["usage"]["prompt_tokens_details"]["cached_tokens"]
    return counted


def whole(**changes: Any) -> Any:
    return request(render=spec(stream=False, **changes))


def test_what_the_first_engine_found_is_told() -> None:
    play, one = Play(), whole()
    play.say(started(one), Cached(one.id, 0, 4), tokens(one, 0, HI), finished(one, len(HI), FinishReason.LENGTH))
    assert cached(play) == 4


def test_what_a_later_engine_finds_counts_for_nothing() -> None:
    """It finds what the first one has left. The request as it is queued again, outcomes and checkpoints carry it."""
    play, one = Play(), whole()
    play.say(started(one), Cached(one.id, 0, 4), tokens(one, 0, HI[:1]))
    session = play.sessions.get(one.id)
    assert session is not None and session.so_far.cached == 4
    again = replace(one, attempt=1, **session.progress)
    session.release(1)
    play.say(started(again, "2-0"), Cached(one.id, 1, 5), executor="gpu.8")
    play.say(tokens(again, 1, HI[1:]), finished(again, len(HI), FinishReason.LENGTH), executor="gpu.8")
    assert cached(play) == 4
    other = Sessions(VOCABULARY)
    other.restore(codec.decode_outcome(codec.encode_outcome(session.outcome())), 0.0)
    assert cached(other) == 4
    third = Sessions(VOCABULARY)
    point = Checkpoint(ENGINE, "7-9", started(codec.decode_request(codec.encode_request(again)), "2-0"))
    third.resume(codec.decode_checkpoint(codec.encode_checkpoint(point)), News())
    assert (found := third.get(one.id)) is not None and found.cached == 4


@pytest.mark.parametrize(
    ("prompts", "found", "told"),
    [(1, (0, 4, 4, 4), 0), (1, (4, 3, 4, 4), 3), (2, (4, 3, 0, 4), 3), (4, (1, 1, 1, 1), 4)],
)
def test_a_prompt_of_several_choices_counts_once(prompts: int, found: tuple[int, ...], told: int) -> None:
    """Its second choice finds what the first has computed, which somebody had to."""
    play, render = Play(), spec(stream=False, choices=4, prompts=prompts)
    for index, count in enumerate(found):
        one = request(index=index, render=render)
        play.say(started(one), Cached(one.id, 0, count), finished(one, 0, FinishReason.LENGTH))
    assert cached(play) == told


def test_old_and_new_versions_read_each_other() -> None:
    """An older reader passes the new part of an entry over; an older writer does not have it. Without a find, requests
    are written as they were."""
    one = request()
    records = (started(one), Cached(one.id, 0, 4), tokens(one, 0, HI))
    data = codec.encode_records(records)
    assert codec.decode_records(data) == records
    parts = json.loads(data)
    assert parts.keys() == {"s", "c", "t"}
    del parts["c"]
    assert codec.decode_records(json.dumps(parts).encode()) == (records[0], records[2])
    outcome = Outcome(one, FinishReason.LENGTH, "")
    assert b"cached" not in codec.encode_request(one) + codec.encode_outcome(outcome)
    with pytest.raises(codec.Malformed):
        codec.decode_records(b'{"c": [["p.0", 0, -1]]}')


def test_chunks_with_usage_say_it_too() -> None:
    play, one = Play(), request(render=spec(include_usage=True, continuous_usage=True))
    play.say(started(one), Cached(one.id, 0, 3), Tokens(one.id, 0, 0, HI))
    frame = play.sessions.frame("p", "")
    assert frame is not None
    assert [body["usage"]["prompt_tokens_details"]["cached_tokens"] for _, body in events(frame.data)] == [3, 3]
