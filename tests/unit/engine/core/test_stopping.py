"""How a request ends, and which ones never begin."""

import pytest

from services.engine.core.events import Submit
from services.engine.core.scheduler import Scheduler
from shared.types import FinishReason, SamplingParams
from tests.unit.engine.core.playbook import Playbook, config


def test_a_stop_id_ends_a_request_at_commit() -> None:
    """The stop token itself is told; `min_tokens` holds a stop back; a stop wins over the length."""
    play = Playbook()
    play.submit("a", 3, max_tokens=3, stop_ids=(9,), min_tokens=2)
    assert [play.step(a=9), play.step(a=9), play.step(a=9)] == ["a@0=9", "a@1=9", "a@2=9:stop"]


def test_a_request_ends_where_the_context_ends() -> None:
    """`max_model_len` counts prompt and output; the last token is drawn and never computed."""
    play = Playbook(config(max_model_len=6))
    play.submit("a", 4, max_tokens=50)
    assert play.plan() == "+a a[0:4]*"
    assert play.plan() == "a+1 a[4:5]*"
    assert play.plan() is None
    assert (play.commit(), play.commit()) == ("a@0=100", "a@1=100:length")


def test_a_moved_request_goes_on_behind_its_output() -> None:
    """Prompt and output are prefilled together; offsets count on, and so does max_tokens."""
    play = Playbook()
    play.submit("a", 3, output=(7, 8), max_tokens=4)
    assert play.plan() == "+a a[0:5]*"
    assert play.plan() == "a[5:6]*"
    assert (play.commit(), play.commit()) == ("a@2=100", "a@3=100:length")


def test_a_moved_request_that_had_ended_already_ends_at_once() -> None:
    """An engine may die between the last token and the word that it was the last."""
    play = Playbook()
    assert play.submit("a", 3, output=(7, 8), max_tokens=2) == "a@2:length"
    assert play.submit("b", 3, output=(7, 9), stop_ids=(9,)) == "b@2:stop"
    assert play.scheduler.idle and play.plan() is None


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        (Submit(id="a", parent_id="p", prompt=(), sampling=SamplingParams(max_tokens=1)), "the prompt is empty"),
        (
            Submit(id="a", parent_id="p", prompt=(1,), sampling=SamplingParams(max_tokens=0)),
            "max_tokens must be at least 1, not 0",
        ),
        (
            Submit(id="a", parent_id="p", prompt=(1,) * 32, sampling=SamplingParams(max_tokens=1)),
            "the prompt has 32 tokens; at most 31 fit this model's context",
        ),
        (
            Submit(id="a", parent_id="p", prompt=(1,) * 14, sampling=SamplingParams(max_tokens=4)),
            "a prompt of 14 tokens with max_tokens 4 needs 5 cache blocks of 4 tokens; this engine has 4",
        ),
        (
            Submit(id="a", parent_id="p", prompt=(1, -1), sampling=SamplingParams(max_tokens=1)),
            "token ids must lie between 0 and 2147483647",
        ),
        (
            Submit(id="a", parent_id="p", prompt=(1,), output=(2**31,), sampling=SamplingParams(max_tokens=3)),
            "token ids must lie between 0 and 2147483647",
        ),
        (
            Submit(id="a", parent_id="p", prompt=(1,), arrival=float("nan"), sampling=SamplingParams(max_tokens=1)),
            "arrival must be finite, and priority must fit 32 bits",
        ),
        (
            Submit(id="a", parent_id="p", prompt=(1,), priority=10**400, sampling=SamplingParams(max_tokens=1)),
            "arrival must be finite, and priority must fit 32 bits",
        ),
    ],
)
def test_an_impossible_request_fails_alone_and_says_why(event: Submit, detail: str) -> None:
    """It ends at its offset with `error` and words for the client; nothing is held for it."""
    scheduler = Scheduler(config(num_blocks=4, block_size=4, max_model_len=32))
    (delta,) = scheduler.handle(event)
    assert (delta.id, delta.offset, delta.ids) == ("a", len(event.output), ())
    assert (delta.finish, delta.detail) == (FinishReason.ERROR, detail)
    assert scheduler.idle and scheduler.statistics()["refused"] == 1


def test_the_largest_possible_request_fits_exactly() -> None:
    """The last token needs no place: 13 of prompt and 4 of output fill four blocks of four."""
    play = Playbook(config(num_blocks=4, block_size=4))
    play.submit("a", 13, max_tokens=4)
    play.finish()
    assert play.statistic("tokens_committed") == 4 and play.statistic("preemptions") == 0
