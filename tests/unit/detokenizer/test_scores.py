"""Logprobs as clients read them: each shown token once, wherever a stream is cut, and none that a stop cuts away."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detokenizer.sessions import Sessions
from shared.codec import decode_outcome, decode_records, encode_outcome, encode_records
from shared.messages import GenerateRequest, Tokens
from shared.types import FinishReason, SamplingParams, Score
from tests.unit.detokenizer.cases import (
    EOS,
    VOCABULARY,
    Kind,
    Play,
    events,
    finished,
    ids,
    request,
    spec,
    started,
)

TEXT = "na\u00efve \U0001f600 words END more"


def sampling(k: int = 2) -> SamplingParams:
    return SamplingParams(max_tokens=100, stop_ids=(EOS,), logprobs=k)


def scores(drawn: tuple[int, ...]) -> tuple[Score, ...]:
    """Each tells which token it is of."""
    return tuple(Score(-float(at), at + 1, (token, 5), (-float(at), -50.0)) for at, token in enumerate(drawn))


def play(
    kind: Kind, drawn: tuple[int, ...], cuts: tuple[int, ...], stop: tuple[str, ...] = (), end: bool = True
) -> Play:
    """The tokens in entries that begin at `cuts`."""
    one, of = request(render=spec(kind, stop=stop), sampling=sampling()), scores(drawn)
    stage = Play()
    stage.say(started(one))
    borders = sorted({0, len(drawn), *(cut % (len(drawn) + 1) for cut in cuts)})
    for begin, after in pairwise(borders):
        stage.say(Tokens(one.id, 0, begin, drawn[begin:after], of[begin:after]))
    if end:
        stage.say(finished(one, len(drawn), FinishReason.STOP))
    return stage


def content(bodies: list[Any]) -> list[dict[str, Any]]:
    told = [choice["logprobs"] for body in bodies if body != "[DONE]" for choice in body["choices"]]
    return [token for part in told if part for token in part["content"]]


def test_a_chats_tokens_are_told_with_their_bytes_and_the_likeliest() -> None:
    """Bytes that are no text by themselves are escaped; joined, all bytes are the text."""
    drawn = ids("\U0001f600 hi")
    frame = play("chat", (*drawn, EOS), ()).sessions.frame("p", "")
    assert frame is not None
    told = content([body for _, body in events(frame.data)])
    assert bytes(byte for token in told for byte in token["bytes"]).decode() == "\U0001f600 hi"
    assert [token["logprob"] for token in told] == [-float(at) for at in range(len(drawn))]
    assert [len(token["top_logprobs"]) for token in told] == [2] * len(drawn)
    assert told[0]["top_logprobs"][0] == {key: told[0][key] for key in ("token", "logprob", "bytes")}
    first = VOCABULARY.bytes_of(drawn[0])
    if len(drawn) > 3:
        assert told[0]["token"] == "".join(f"\\x{byte:02x}" for byte in first)


def test_a_completions_tokens_are_told_with_their_places() -> None:
    """Four lists of one length; the drawn token stands among the likeliest whether or not it is one."""
    drawn = ids("one two")
    one = request(render=spec("completion", stream=False), sampling=sampling(1))
    stage, best = Play(), tuple(Score(-2.0, 9, (token + 1,), (-0.5,)) for token in drawn)
    stage.say(started(one), Tokens(one.id, 0, 0, drawn, best), finished(one, len(drawn), FinishReason.LENGTH))
    frame = stage.sessions.frame("p", "")
    assert frame is not None
    choice = orjson.loads(frame.data)["choices"][0]
    told = choice["logprobs"]
    assert "".join(told["tokens"]) == choice["text"] == "one two"
    assert told["token_logprobs"] == [-2.0] * len(drawn)
    starts = [len("".join(told["tokens"][:at])) for at in range(len(drawn))]
    assert told["text_offset"] == starts
    assert all(list(top.values()) == [-0.5, -2.0] for top in told["top_logprobs"])
    assert [list(top)[1] for top in told["top_logprobs"]] == told["tokens"]


@given(st.lists(st.integers(0, 60), max_size=6).map(tuple), st.lists(st.integers(0, 60), max_size=6).map(tuple))
def test_whoever_reads_in_whatever_pieces_is_told_each_token_once(
    cuts: tuple[int, ...], reads: tuple[int, ...]
) -> None:
    """Frames after each entry, and resumption behind any event, add up to the whole body's list."""
    drawn = (*ids(TEXT), EOS)
    whole = play("chat", drawn, ()).sessions.frame("p", "")
    assert whole is not None
    expected = content([body for _, body in events(whole.data)])
    assert len(expected) == len(drawn) - 1
    stage = play("chat", drawn, cuts, end=False)
    cursor, told = "", []
    one = request(render=spec("chat"), sampling=sampling())
    for step in range(2):
        while frame := stage.sessions.frame("p", cursor):
            written = events(frame.data)
            keep = 1 + (reads[step % len(reads)] if reads else 60) % len(written)  # the client is cut behind one
            told += content([body for _, body in written[:keep]])
            cursor = next((id for id, _ in reversed(written[:keep]) if id is not None), cursor)
            if frame.last and keep == len(written):
                break
        if not step:
            stage.say(finished(one, len(drawn), FinishReason.STOP))
    assert told == expected


@pytest.mark.parametrize("cuts", [(), (3,), (1, 5, 9), tuple(range(40))])
def test_tokens_behind_a_stop_string_are_not_told(cuts: tuple[int, ...]) -> None:
    """However the tokens came; those before it all are, once the stop is there."""
    drawn = ids(TEXT)
    frame = play("chat", drawn, cuts, stop=("END",), end=False).sessions.frame("p", "")
    assert frame is not None
    assert frame.last
    told = content([body for _, body in events(frame.data)])
    shown = "na\u00efve \U0001f600 words "
    text = bytes(byte for token in told for byte in token["bytes"]).decode()
    assert text.startswith(shown)
    assert len(told) == next(
        n for n in range(len(drawn)) if len(VOCABULARY.text(drawn[:n]).rstrip("\ufffd")) >= len(shown)
    )


def test_scores_travel_with_the_request_that_goes_on() -> None:
    """Through records, outcomes and a session built from one, nothing is lost; older readers see rows as they were."""
    drawn = ids("one two")
    one = request(sampling=sampling(), output=drawn, scores=scores(drawn))
    stage = Play()
    stage.say(*decode_records(encode_records([started(one)])))
    session = stage.sessions.get(one.id)
    assert session is not None
    assert session.progress == {"output": drawn, "scores": scores(drawn), "prompt_scores": (), "cached": 0}
    more = Tokens(one.id, 0, len(drawn), drawn, scores(drawn))
    assert decode_records(encode_records([more])) == (more,)
    assert encode_records([Tokens("p.0", 0, 0, (1, 2))]) == b'{"t":[["p.0",0,0,[1,2]]]}'
    stage.say(more, finished(one, 2 * len(drawn), FinishReason.LENGTH))
    outcome = decode_outcome(encode_outcome(session.outcome()))
    late = Sessions(VOCABULARY)
    late.restore(outcome, 0.0)
    found, expected = late.frame("p", ""), stage.sessions.frame("p", "")
    assert found is not None
    assert expected is not None
    assert content([b for _, b in events(found.data)]) == content([b for _, b in events(expected.data)]) != []


def prompted(kind: Kind, *, echo: bool = False, **fields: Any) -> GenerateRequest:
    render = spec(kind, echo=echo, prompt_logprobs=not echo, **fields)
    return request(render=render, sampling=SamplingParams(max_tokens=9, stop_ids=(EOS,), logprobs=1, prompt_logprobs=1))


def of_prompt(one: GenerateRequest) -> tuple[Score, ...]:
    return tuple(Score(-float(at), 2, (7,), (-0.25,)) for at in range(1, len(one.prompt)))


def told(one: GenerateRequest, drawn: tuple[int, ...]) -> Tokens:
    return Tokens(one.id, 0, 0, drawn, tuple(Score(-9.0, 1, (token,), (-9.0,)) for token in drawn), of_prompt(one))


def test_an_echo_stands_before_the_text_and_its_scores_before_the_others() -> None:
    """Streamed and not, cut behind the echo or not; the first token has no score, as nothing stands before it."""
    one, drawn = prompted("completion", echo=True), ids(" there")
    stage = Play()
    stage.say(started(one))
    assert stage.sessions.frame("p", "") is None
    stage.say(told(one, drawn), finished(one, len(drawn), FinishReason.LENGTH))
    frame = stage.sessions.frame("p", "")
    assert frame is not None
    written = events(frame.data)
    assert [id for id, _ in written][:2] == ["0", f"{len(drawn)}"]
    choices = [body["choices"][0] for id, body in written if id is not None]
    assert [choice["text"] for choice in choices] == ["Once upon a time", " there", ""]
    behind = stage.sessions.frame("p", "0")
    assert behind is not None
    assert events(behind.data) == written[1:]
    first, second = choices[0]["logprobs"], choices[1]["logprobs"]
    assert "".join(first["tokens"]) == "Once upon a time"
    assert first["token_logprobs"] == [None, *(-float(at) for at in range(1, len(one.prompt)))]
    assert first["top_logprobs"][0] is None
    assert second["text_offset"][0] == len("Once upon a time") > first["text_offset"][-1]
    whole = Play()
    short = prompted("completion", echo=True, stream=False)
    whole.say(started(short), told(short, drawn), finished(short, len(drawn), FinishReason.LENGTH))
    answer = whole.sessions.frame("p", "")
    assert answer is not None
    [choice] = orjson.loads(answer.data)["choices"]
    assert choice["text"] == "Once upon a time there"
    assert choice["logprobs"] == {key: first[key] + second[key] for key in first}


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_a_prompts_logprobs_are_told_by_id_and_outlive_their_owner(kind: Kind) -> None:
    """Of each token but the first, with rank and text; another owner that knows the outcome alone tells the same."""
    one, drawn = prompted(kind, stream=False), ids("x")
    stage = Play()
    stage.say(*decode_records(encode_records([started(one)])), told(one, drawn))
    stage.say(finished(one, 1, FinishReason.LENGTH))
    session = stage.sessions.get(one.id)
    assert session is not None
    late = Sessions(VOCABULARY)
    late.restore(decode_outcome(encode_outcome(session.outcome())), 0.0)
    found, expected = late.frame("p", ""), stage.sessions.frame("p", "")
    assert found is not None
    assert expected is not None
    assert found.data == expected.data
    body = orjson.loads(found.data)
    told_of = (body if kind == "chat" else body["choices"][0])["prompt_logprobs"]
    assert told_of[0] is None
    assert len(told_of) == len(one.prompt)
    assert told_of[2][str(one.prompt[2])] == {
        "logprob": -2.0,
        "rank": 2,
        "decoded_token": VOCABULARY.name(one.prompt[2]),
    }
    assert told_of[2]["7"]["rank"] == 1
