"""Who asks, in which lane, and by when."""

import math

import orjson
import pytest

from services.gateway.caller import lane_of, life_s, read_timeout_s, tenant_of
from services.gateway.openai import CompletionBody
from services.gateway.validation import parse
from shared.errors import ClientError


def test_a_tenant_is_a_digest_of_its_key() -> None:
    """The same everywhere, of no use to who reads it, and not to be guessed without the services' secret."""
    one = tenant_of({"Authorization": "Bearer sk-one"}, "secret")
    assert one == tenant_of({"Authorization": "bearer  sk-one "}, "secret")
    assert len(one) == 12 and "one" not in one
    assert one != tenant_of({"Authorization": "Bearer sk-two"}, "secret")
    assert one != tenant_of({"Authorization": "Bearer sk-one"}, "other")
    for nobody in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer "}):
        assert tenant_of(nobody, "secret") == ""


@pytest.mark.parametrize(
    ("header", "priority", "lane"),
    [
        ("", 0, "interactive"),
        ("", -3, "interactive"),
        ("", 1, "batch"),
        ("Batch", 0, "batch"),
        ("interactive", 9, "interactive"),
    ],
)
def test_the_lane_is_the_headers_or_the_prioritys(header: str, priority: int, lane: str) -> None:
    assert lane_of({"X-Lane": header} if header else {}, priority) == lane


def test_an_unknown_lane_is_named() -> None:
    with pytest.raises(ClientError, match="X-Lane must be interactive or batch, not fast"):
        lane_of({"X-Lane": "fast"}, 0)


def a_body(**fields: object) -> CompletionBody:
    return parse(CompletionBody, orjson.dumps({"model": "m", "prompt": "x"} | fields))


def test_the_shortest_word_on_time_counts() -> None:
    """The server's bound, the body's `timeout`, and for an answer in one piece what the client's library will wait."""
    hurried = {"x-stainless-read-timeout": "5"}
    assert life_s(a_body(), {}, 600) == 600
    assert life_s(a_body(timeout=20), {}, 600) == 20
    assert life_s(a_body(timeout=9999), {}, 600) == 600
    assert life_s(a_body(timeout=20), hurried, 600) == 5
    assert life_s(a_body(), {"x-stainless-timeout": "7.5"}, 600) == 7.5
    assert life_s(a_body(stream=True), hurried, 600) == 600  # each byte starts its clock anew
    assert life_s(a_body(stream=True, timeout=3), hurried, 600) == 3


@pytest.mark.parametrize("said", ["None", "nan", "-1", "0", "", "inf"])
def test_a_timeout_that_is_none_is_passed_over(said: str) -> None:
    """The header is a library's note, not a parameter."""
    assert read_timeout_s({"x-stainless-read-timeout": said}) == math.inf


@pytest.mark.parametrize("value", [0, -1, "5", True])
def test_a_timeout_in_the_body_is_checked(value: object) -> None:
    with pytest.raises(ClientError) as refused:
        a_body(timeout=value)
    assert refused.value.param == "timeout"


@pytest.mark.parametrize("value", [1001, -1001, 1.5, "high"])
def test_a_priority_is_checked(value: object) -> None:
    with pytest.raises(ClientError) as refused:
        a_body(priority=value)
    assert refused.value.param == "priority"
