"""Bodies that are no requests at all, and such as want to be expensive."""

import json
from typing import Any

import pytest

from services.gateway.openai import ChatBody
from services.gateway.validation import parse
from shared.errors import ClientError

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b'"x"',
        b"\xff",
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":Infinity}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":' + b"[" * 100_000,
    ],
)
def test_what_is_not_a_json_object_is_refused(data: bytes) -> None:
    """Half a surrogate, NaN and a tower of brackets are no JSON either; none of them does harm."""
    with pytest.raises(ClientError) as refusal:
        parse(ChatBody, data)
    assert (refusal.value.status, refusal.value.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"k" * 100_000: 1}},
        {"stop": [["x"] * 100_000]},
        {"stop_token_ids": ["x"] * 100_000},
        {"messages": [5] * 100_000},
        {"unknown" + str(i): 1 for i in range(10_000)},
        {"model": "x" * 1_000_000},
    ],
)
def test_a_refusal_is_short_whatever_was_sent(fields: dict[str, Any]) -> None:
    """One complaint, and none of the client's megabytes in it."""
    with pytest.raises(ClientError) as refusal:
        parse(ChatBody, json.dumps({"model": "m", "messages": MESSAGES} | fields).encode())
    assert len(refusal.value.message) < 300
