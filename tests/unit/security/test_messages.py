"""Searches for bytes that a reader of the bus cannot take: a decoder answers with a value or with one clear error."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detokenizer.sessions import News, Sessions
from shared import codec
from shared.bus import Step, StreamId
from shared.frames import decode_attach
from shared.messages import (
    Born,
    Cancel,
    Checkpoint,
    EngineStatus,
    Finished,
    Outcome,
    Record,
    ShardStatus,
    Started,
    Tokens,
    Tombstone,
)
from shared.types import FinishReason
from tests.bus.cases import a_request
from tests.unit.detokenizer.cases import VOCABULARY

REQUEST = replace(a_request(), output=(7,), deadline_ms=5, unread_s=1.5, traceparent="00-a")
RECORDS: list[Record] = [
    Started("5-0", REQUEST),
    Tokens("p.0", 0, 1, (65, 66)),
    Finished("p.0", 0, 3, FinishReason.STOP),
    Tombstone(True),
]
READERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "request": (codec.decode_request, codec.encode_request(REQUEST)),
    "outcome": (codec.decode_outcome, codec.encode_outcome(Outcome(REQUEST, FinishReason.STOP, "text"))),
    "checkpoint": (codec.decode_checkpoint, codec.encode_checkpoint(Checkpoint("e.1", "1-2", Started("5-0", REQUEST)))),
    "records": (codec.decode_records, codec.encode_records(RECORDS)),
    "cancel": (codec.decode_control, codec.encode_control(Cancel("p", "why"))),
    "born": (codec.decode_control, codec.encode_control(Born("e.1"))),
    "engine": (
        lambda data: codec.decode_status(EngineStatus, data),
        codec.encode_status(EngineStatus(name="e.1", state="ready", queues={"interactive:a": 1})),
    ),
    "shard": (
        lambda data: codec.decode_status(ShardStatus, data),
        codec.encode_status(ShardStatus(shard=0, url="http://a", instance="b")),
    ),
    "attach": (decode_attach, b'{"gateway":"g","cursors":{"p":"1"},"left":["q"]}'),
}
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], put: Any, *, remove: bool) -> Any:
    """The same value with something else, or nothing, in this place."""
    if not path:
        return put
    copy = orjson.loads(orjson.dumps(value))
    at = copy
    for key in path[:-1]:
        at = at[key]
    if remove:
        del at[path[-1]]
    else:
        at[path[-1]] = put
    return copy


def read(name: str, data: bytes) -> object | None:
    try:
        return READERS[name][0](data)
    except ValueError:  # Malformed among them
        return None


@pytest.mark.parametrize("name", READERS)
def test_what_we_write_ourselves_is_read(name: str) -> None:
    assert READERS[name][0](READERS[name][1]) is not None


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_message_with_one_thing_wrong_is_read_or_refused_by_name(name: str, data: st.DataObject) -> None:
    """Any field of any message, replaced by anything or left out."""
    value = orjson.loads(READERS[name][1])
    path = data.draw(st.sampled_from(places(value)))
    message = orjson.dumps(changed(value, path, data.draw(values), remove=data.draw(st.booleans())))
    read(name, message)


@pytest.mark.parametrize("name", READERS)
@given(cut=st.integers(0, 2000), junk=st.binary(max_size=30))
def test_a_message_that_was_cut_or_overwritten_is_read_or_refused(name: str, cut: int, junk: bytes) -> None:
    whole = READERS[name][1]
    for data in (whole[:cut], whole[:cut] + junk + whole[cut + len(junk) :], junk):
        read(name, data)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("data", [b"[" * 1_000_000, b'{"a":' * 1_000_000, b"9" * 1_000_000, b"\x00" * 100])
def test_towers_and_giants_are_refused(name: str, data: bytes) -> None:
    assert read(name, data) is None


@pytest.mark.parametrize("name", ["request", "outcome", "checkpoint"])
@pytest.mark.parametrize("change", [{"version": 2}, {"colour": "blue"}])
def test_a_field_of_another_version_is_refused_where_it_could_change_an_answer(
    name: str, change: dict[str, object]
) -> None:
    """A request that asks for what this version does not know is laid aside rather than half done."""
    with pytest.raises(codec.Malformed, match=next(iter(change))):
        READERS[name][0](orjson.dumps(orjson.loads(READERS[name][1]) | change))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_token_stream_with_one_thing_wrong_harms_no_other_session(data: st.DataObject) -> None:
    """The owner's sessions take whatever can be read: the request next to it ends as it should."""
    value = orjson.loads(codec.encode_records(RECORDS[:3]))
    path = data.draw(st.sampled_from(places(value)[1:]))
    message = orjson.dumps(changed(value, path, data.draw(values), remove=data.draw(st.booleans())))
    try:
        hostile = codec.decode_records(message)
    except ValueError:
        hostile = ()
    sessions, news = Sessions(VOCABULARY), News()
    good = a_request("good")
    steps = [
        (Started("6-0", good),),
        tuple(hostile),
        (Tokens("good.0", 0, 0, (65,)), Finished("good.0", 0, 1, FinishReason.LENGTH)),
    ]
    for number, records in enumerate(steps, 1):
        sessions.consume(Step("e.1", StreamId(1, number), records), news)
    session = sessions.get("good.0")
    assert session is not None and (session.end, list(session.ids)) == (FinishReason.LENGTH, [65])


def test_what_is_read_is_of_the_types_it_says() -> None:
    """Booleans are no numbers, numbers no texts, and a number of choices is one that can be allocated."""
    whole = orjson.loads(codec.encode_request(REQUEST))
    wrong: list[dict[str, object]] = [
        {"attempt": True},
        {"attempt": 1.0},
        {"priority": "1"},
        {"deadline_ms": "soon"},
        {"lane": "express"},
        {"output": [2**31]},
        {"id": "q.0"},
        {"render": whole["render"] | {"choices": 10**12}},
        {"render": whole["render"] | {"stop": "a"}},
        {"sampling": whole["sampling"] | {"temperature": None}},
    ]
    for change in wrong:
        with pytest.raises(codec.Malformed):
            codec.decode_request(orjson.dumps(whole | change))
    kept = codec.decode_request(orjson.dumps(whole | {"unread_s": 2}))
    assert kept.unread_s == 2
