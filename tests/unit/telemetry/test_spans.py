"""W3C contexts in and out, and the choice of what is traced."""

import time

import pytest

from shared.errors import ConfigError
from shared.telemetry.recorder import moment_ns
from shared.telemetry.sampling import sampler
from shared.telemetry.spans import Context, named_span_id, now_ns, request_digest

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_comes_back_as_it_was() -> None:
    for flags, sampled in (("01", True), ("00", False)):
        text = f"00-{TRACE}-{SPAN}-{flags}"
        assert Context.parse(text) == Context(TRACE, SPAN, sampled)
        assert str(Context.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-0x",
    ],
)
def test_what_is_no_traceparent_is_none(text: str | None) -> None:
    assert Context.parse(text) is None


def test_of_a_later_version_the_known_fields_count() -> None:
    assert Context.parse(f"01-{TRACE}-{SPAN}-03-more") == Context(TRACE, SPAN, True)


def test_a_new_trace_is_unique_and_its_children_belong_to_it() -> None:
    one, other = Context.new(sampled=True), Context.new(sampled=True)
    assert one.trace != other.trace and Context.parse(str(one)) == one
    child = one.child()
    assert child.trace == one.trace and child.span != one.span and child.sampled


def test_a_named_span_has_one_id_for_all_who_know_its_name() -> None:
    assert named_span_id(TRACE, "generate", "r.0", 1) == named_span_id(TRACE, "generate", "r.0", 1)
    assert named_span_id(TRACE, "generate", "r.0", 1) != named_span_id(TRACE, "generate", "r.0", 2)
    assert Context.parse(str(Context(TRACE, named_span_id(TRACE, "x"), True)))


@pytest.mark.parametrize(
    "environ, low, high, parent_off",
    [
        ({}, True, True, False),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, False, False, False),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, True, True, True),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, True, False, True),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, True, False, False),
    ],
)
def test_the_standards_words_choose(environ: dict[str, str], low: bool, high: bool, parent_off: bool) -> None:
    """`low` and `high` are traces whose ids lie in the lower and the upper half; then one whose parent was not."""
    choose = sampler(environ)
    lower, upper = "0" * 16 + "1" * 16, "0" * 16 + "f" * 16
    assert (choose(lower, None), choose(upper, None)) == (low, high)
    assert choose(lower, Context(TRACE, SPAN, False)) == parent_off
    if environ.get("OTEL_TRACES_SAMPLER", "parentbased").startswith("parentbased"):
        assert choose(upper, Context(TRACE, SPAN, True))


@pytest.mark.parametrize(
    "environ, named",
    [
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"}, "OTEL_TRACES_SAMPLER_ARG"),
    ],
)
def test_a_sampler_that_is_none_is_named_at_start(environ: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        sampler(environ)


def test_a_request_is_told_of_by_a_digest_of_its_id() -> None:
    """The id opens the stream; sixteen digits of its SHA-256 open nothing and are the same in every service."""
    assert request_digest("chatcmpl-abc") == "c52fde4b694f8185" == request_digest("chatcmpl-abc")[:16]


def test_a_moment_told_by_another_process_is_never_in_the_future() -> None:
    now = now_ns()
    assert 0 <= moment_ns(0.0) - now < 1e9
    assert 0 <= moment_ns(1e300) - now < 1e9
    assert abs(moment_ns(time.time() * 1000 - 5000) - (now - 5e9)) < 1e9
    assert moment_ns(-1e300) == pytest.approx(now - 86_400e9, abs=1e9)
