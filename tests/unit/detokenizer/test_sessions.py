"""Acceptance (PROTOCOL 8): each token counts once, in order, from the executor to which its attempt is bound."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detokenizer.cancels import FAILED, STOPPED
from services.detokenizer.session import Session
from shared.messages import PROMPT_TAIL, Outcome, Record
from shared.types import FinishReason
from tests.unit.detokenizer.cases import ENGINE, Play, finished, ids, request, spec, started, tokens

TEXT = "The mill turns, na\u00efve caf\u00e9s!"


def session(play: Play, id: str = "p.0") -> Session:
    found = play.sessions.get(id)
    assert found is not None
    return found


def test_known_offsets_are_dropped_and_an_overlap_is_cut() -> None:
    """Reading a stream twice changes nothing; of a record that is partly known the new part counts."""
    play, one = Play(), request()
    play.say(started(one), tokens(one, 0, [70, 71, 72]))
    play.say(started(one), tokens(one, 0, [70, 71, 72]))
    play.say(tokens(one, 2, [72, 73]))
    assert list(session(play).ids) == [70, 71, 72, 73]


def test_a_gap_takes_nothing_and_asks_for_the_stream_again() -> None:
    """A token out of turn is not kept: its stream is read from the start and brings it in turn."""
    play, one = Play(), request()
    play.say(started(one), tokens(one, 0, [70]))
    assert play.say(tokens(one, 2, [72])).gaps == {ENGINE}
    assert play.say(finished(one, 3, FinishReason.LENGTH)).gaps == {ENGINE}
    assert list(session(play).ids) == [70]
    assert not play.say(started(one), tokens(one, 0, [70]), tokens(one, 1, [71]), tokens(one, 2, [72])).gaps
    assert list(session(play).ids) == [70, 71, 72]


def test_only_the_executor_of_the_first_started_is_believed() -> None:
    """An attempt belongs to whoever started it first; what another executor says of it is dropped."""
    play, one = Play(), request()
    play.say(started(one))
    play.say(started(one), tokens(one, 0, [90]), finished(one, 1, FinishReason.LENGTH), executor="other.9")
    assert not session(play).ids
    play.say(tokens(one, 0, [70]))
    assert list(session(play).ids) == [70]
    assert session(play).end is None


def test_a_newer_attempt_takes_over_and_an_older_one_is_not_heard_again() -> None:
    """A moved request goes on behind its accepted tokens, wherever it runs; its late first engine is dropped."""
    play, one = Play(), request()
    play.say(started(one), tokens(one, 0, [70, 71]))
    moved = request(attempt=1, output=(70, 71, 72))
    play.say(started(moved, "2-0"), tokens(moved, 3, [73]), executor="other.9")
    play.say(tokens(one, 2, [99]), finished(one, 3, FinishReason.LENGTH))
    play.say(started(one))
    assert list(session(play).ids) == [70, 71, 72, 73]
    assert (session(play).executor, session(play).attempt, str(session(play).entry.id)) == ("other.9", 1, "2-0")  # type: ignore[union-attr]


def test_an_older_attempt_is_not_heard_even_from_the_same_executor() -> None:
    """A request may be moved to where it was before; what its first life there still says is dropped."""
    play, one = Play(), request()
    play.say(started(one), tokens(one, 0, [70]))
    moved = request(attempt=1, output=(70,))
    play.say(started(moved, "2-0"), tokens(one, 1, [99]), tokens(moved, 1, [71]))
    assert list(session(play).ids) == [70, 71]


def test_an_ended_request_accepts_nothing_more() -> None:
    """After the end, tokens and other ends are dropped, and an engine that starts it again is told to stop."""
    play, one = Play(), request()
    play.say(started(one), tokens(one, 0, [70]), finished(one, 1, FinishReason.LENGTH))
    play.say(tokens(one, 1, [71]), finished(one, 2, FinishReason.ERROR))
    assert (list(session(play).ids), session(play).end) == ([70], FinishReason.LENGTH)
    assert play.say(started(request(attempt=1)), executor="other.9").overrun == {"p.0": STOPPED}


def test_a_stop_string_ends_a_request_at_once_and_tells_the_engine() -> None:
    """Tokens behind it are neither shown nor counted, though the engine generated them."""
    play, one = Play(), request(render=spec(stop=("mill",)))
    news = play.say(started(one), tokens(one, 0, ids("The mill turns and turns")))
    assert news.overrun == {"p.0": STOPPED}
    assert news.ended == [session(play)]
    assert session(play).text == "The "
    outcome = session(play).outcome()
    assert (outcome.reason, outcome.text) == (FinishReason.STOP, "The ")
    assert len(outcome.request.output) < len(ids("The mill turns and turns"))


def test_a_choice_that_fails_ends_its_siblings() -> None:
    """The client's answer is an error then, so engines need not go on with the rest of it."""
    render = spec(choices=2)
    play, one = Play(), request(render=render)
    assert play.say(started(one), finished(one, 0, FinishReason.ERROR, "no")).overrun == {"p": FAILED}


def test_a_record_that_breaks_something_harms_no_other_request() -> None:
    """A choice outside its parent cannot be placed; the record behind it counts as ever."""
    play, one = Play(), request()
    play.say(started(request("q", 5)), started(one), tokens(one, 0, [70]))
    assert list(session(play).ids) == [70]
    assert "q" not in play.sessions


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_order_of_rereading_gives_the_same_answer(data: st.DataObject) -> None:
    """A stream read again and again from its start, cut off anywhere, ends as if it was read once."""
    one = request()
    told: list[Record] = [started(one), *(tokens(one, i, [t]) for i, t in enumerate(ids(TEXT)))]
    told.append(finished(one, len(ids(TEXT)), FinishReason.LENGTH))
    play = Play()
    for upto in data.draw(st.lists(st.integers(0, len(told)), max_size=4)):
        for record in told[:upto]:
            play.say(record)
    for record in told:
        play.say(record)
    assert session(play).text == TEXT
    assert tuple(session(play).ids) == ids(TEXT)


@pytest.mark.parametrize("known", [0, 1, 5, len(ids(TEXT))])
def test_a_session_built_from_an_outcome_shows_the_same(known: int) -> None:
    """Whether the process read the tokens, a part of them or none: late readers see the text as it was."""
    first, one = Play(), request(render=spec(stop=("caf\u00e9s",)))
    first.run(one, TEXT)
    outcome = session(first).outcome()
    second = Play()
    if known:
        second.say(started(one), tokens(one, 0, ids(TEXT)[:known]))
    second.sessions.restore(outcome, 0.0)
    assert second.sessions.frame("p", "") == first.sessions.frame("p", "")
    assert session(second).settled


def test_a_session_keeps_only_the_tail_of_its_prompt() -> None:
    """Memory and outcomes do not grow with prompts; eight tokens are enough to read the first one in context."""
    play, one = Play(), request(prompt=tuple(range(60, 160)))
    play.run(one, "s")
    assert len(session(play).outcome().request.prompt) == PROMPT_TAIL


def test_settled_parents_are_forgotten_by_age_and_number() -> None:
    """Only what is settled as a whole; live ones stay whatever happens."""
    play = Play()
    for parent in "abcd":
        play.run(request(parent), "s")
    for now_s, parent in enumerate("abc"):
        play.sessions.settle(session(play, f"{parent}.0"), float(now_s))
    play.sessions.forget(settled_before_s=1.0, most=10)
    assert [parent in play.sessions for parent in "abcd"] == [False, True, True, True]
    play.sessions.forget(settled_before_s=0.0, most=1)
    assert [parent in play.sessions for parent in "abcd"] == [False, False, True, True]


def test_a_request_that_the_bus_has_lost_becomes_an_error() -> None:
    """Nothing waits for ever: its client hears that the answer is gone."""
    render = spec(choices=2, stream=False)
    play, one = Play(), request(render=render)
    play.run(one, "s")
    assert play.sessions.missing() == ["p.1"]
    play.sessions.lose("p.1", 0.0)
    lost = play.sessions.frame("p", "")
    assert lost is not None
    assert lost.status == 500


def test_an_outcome_needs_no_started() -> None:
    """A parent that only the bus remembers is rendered from its outcome alone."""
    play = Play()
    play.sessions.restore(Outcome(request(output=ids("Hi")), FinishReason.LENGTH, "Hi"), 0.0)
    shown = play.sessions.frame("p", "1")
    assert shown is not None
    assert shown.last
