"""Messages survive the wire, and foreign bytes are refused."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import codec
from shared.messages import (
    Cancel,
    EngineStatus,
    Finished,
    GenerateRequest,
    Outcome,
    Record,
    RenderSpec,
    Started,
    Tokens,
)
from shared.shapes import built
from shared.types import FinishReason, SamplingParams

ids = st.lists(st.integers(0, 2**31 - 1), max_size=8).map(tuple)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
sampling = st.builds(SamplingParams, max_tokens=st.integers(1, 9), seed=st.integers(0, 2**63 - 1), stop_ids=ids)
render = st.builds(
    RenderSpec,
    kind=st.sampled_from(["chat", "completion"]),
    model=text,
    created=st.integers(0, 2**40),
    stream=st.booleans(),
    choices=st.integers(10, 19),
    prompt_tokens=st.integers(0, 9),
    stop=st.lists(text, max_size=3).map(tuple),
)
plain_requests = st.builds(
    GenerateRequest,
    id=text,
    parent_id=text,
    index=st.integers(0, 9),
    prompt=ids,
    output=ids,
    sampling=sampling,
    render=render,
    shard=st.integers(0, 9),
    traceparent=st.none() | text,
    deadline_ms=st.none() | st.integers(0, 2**50),
)
requests = plain_requests.map(lambda one: replace(one, id=f"{one.parent_id}.{one.index}"))
entries = st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)).map(lambda at: f"{at[0]}-{at[1]}")
records = st.one_of(
    st.builds(Started, entry=entries, request=requests),
    st.builds(
        Tokens,
        id=text,
        attempt=st.integers(0, 9),
        offset=st.integers(0, 99),
        ids=ids,
        scores=st.just(()),
        prompt_scores=st.just(()),
    ),
    st.builds(
        Finished,
        id=text,
        attempt=st.integers(0, 9),
        offset=st.integers(0, 99),
        reason=st.sampled_from(FinishReason),
        detail=text,
    ),
)
ORDER = {Started: 0, Tokens: 1, Finished: 2}


@given(requests)
def test_a_request_survives_the_wire(request: GenerateRequest) -> None:
    assert codec.decode_request(codec.encode_request(request)) == request


@given(requests, st.sampled_from(FinishReason), text)
def test_an_outcome_survives_the_wire(request: GenerateRequest, reason: FinishReason, said: str) -> None:
    outcome = Outcome(request, reason, said, "why")
    assert codec.decode_outcome(codec.encode_outcome(outcome)) == outcome


@given(st.lists(records, max_size=6))
def test_a_step_survives_the_wire_with_starts_first_and_ends_last(step: list[Record]) -> None:
    step.sort(key=lambda record: ORDER[type(record)])
    assert list(codec.decode_records(codec.encode_records(step))) == step


def test_foreign_bytes_are_refused() -> None:
    for data in (b"", b"[]", b"{", b"\xff"):
        with pytest.raises(codec.Malformed):
            codec.decode_records(data)
    with pytest.raises(codec.Malformed):
        codec.decode_control(b'{"x":1}')
    assert codec.decode_control(codec.encode_control(Cancel("a", "b"))) == Cancel("a", "b")


@pytest.mark.parametrize("prompt", ['["7"]', "[1.5]", "[true]", '"text"', "null"])
def test_a_request_with_anything_but_ids_in_its_prompt_is_refused(prompt: str) -> None:
    """The bus is open: what is no id must not get as far as the device."""
    request = GenerateRequest(
        id="p.0",
        parent_id="p",
        index=0,
        prompt=(),
        sampling=SamplingParams(max_tokens=1),
        render=RenderSpec(kind="chat", model="m", created=1, stream=True, choices=1, prompt_tokens=0),
        shard=0,
    )
    data = codec.encode_request(request).replace(b'"prompt":[]', b'"prompt":' + prompt.encode())
    with pytest.raises(codec.Malformed):
        codec.decode_request(data)


def test_a_lease_of_a_newer_version_is_read_without_what_is_new_in_it() -> None:
    lease = b'{"name": "e.1", "state": "ready", "colour": "blue"}'
    assert codec.decode_status(EngineStatus, lease) == EngineStatus(name="e.1", state="ready")


def test_an_entry_says_when_it_was_written_and_is_the_same_without() -> None:
    """An engine that repeats a write finds its own entry, whenever it wrote it; older versions say nothing of that."""
    records = [Tokens("p.0", 0, 3, (7,))]
    first, again = codec.encode_records(records, 1700000000123.4567), codec.encode_records(records, 5.0)
    old = codec.encode_records(records)
    assert codec.decode_entry(first) == (tuple(records), 1700000000123.457)
    assert codec.decode_entry(old) == (tuple(records), 0.0)
    assert codec.same_records(first, again) and codec.same_records(first, old)
    assert not codec.same_records(first, codec.encode_records([Tokens("p.0", 0, 3, (8,))], 5.0))
    assert codec.same_records(codec.encode_records([], 5.0), b"{}")
    for wrong in (b'{"w":"1"}', b'{"w":true}', b'{"w":-1}', b'{"w":1e300}'):
        with pytest.raises(codec.Malformed):
            codec.decode_entry(wrong)


def test_what_has_its_default_is_left_out() -> None:
    """So a version that does not know a new field reads each request that does not use it."""
    request = GenerateRequest(
        id="p.0",
        parent_id="p",
        index=0,
        prompt=(1, 2),
        sampling=SamplingParams(max_tokens=3, temperature=0.5),
        render=RenderSpec(kind="chat", model="m", created=1, stream=True, choices=1, prompt_tokens=2),
        shard=0,
    )
    fields = orjson.loads(codec.encode_request(request))
    assert fields["sampling"] == {"max_tokens": 3, "temperature": 0.5}
    assert fields.keys() == {"id", "parent_id", "index", "prompt", "sampling", "render", "shard"}
    assert codec.decode_request(orjson.dumps(fields)) == request


def test_biases_and_banned_sequences_survive() -> None:
    """Floats beside ids, and sequences of ids."""
    sampling = SamplingParams(max_tokens=3, bias_ids=(5, 6), biases=(1.5, -100.0), banned=((1,), (2, 3)))
    assert built(SamplingParams, orjson.loads(codec._sparsely(sampling))) == sampling
