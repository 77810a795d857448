"""What a step holds, and what became of it: the scheduler's rules, one script each."""

from collections.abc import Callable

import pytest

from services.engine.core.events import Abort
from services.engine.core.step import RowAdd, RowBlocks, RowWork, StepResult
from shared.errors import ConfigError
from shared.types import FinishReason, SamplingParams
from tests.unit.engine.core.playbook import Playbook, config

# ---- what a step holds -----------------------------------------------------------------------------------------------


def test_a_short_prompt_is_computed_in_one_step_that_also_draws() -> None:
    """A step that reaches the last known token draws the next one; later steps compute one token each."""
    play = Playbook()
    play.submit("a", 5, max_tokens=3)
    assert play.plan() == "+a a[0:5]*"
    assert play.commit(a=7) == "a@0=7"
    assert play.plan() == "a[5:6]*"
    assert play.commit(a=8) == "a@1=8"
    assert play.plan() == "a[6:7]*"
    assert play.commit(a=9) == "a@2=9:length"
    assert play.plan() is None and play.scheduler.idle


def test_a_plan_tells_the_worker_exactly_what_it_does_not_know_yet() -> None:
    """The first plan brings tokens, blocks and sampling; the next only the work; a full block brings one more block."""
    play = Playbook(config(block_size=4))
    play.submit("a", (5, 6, 7), max_tokens=5)
    play.plan()
    play.plan()
    play.commit()
    play.plan()
    sampling = SamplingParams(max_tokens=5)
    first, second, third = play.plans
    assert first.added == (RowAdd(0, (5, 6, 7), 3, (0,), sampling),)
    assert first.work == (RowWork(0, 0, 3, True),) and first.began == ("a",) and first.step == 0
    assert (second.added, second.appended, second.work, second.began) == ((), (), (RowWork(0, 3, 1, True),), ())
    assert third.appended == (RowBlocks(0, 1, (1,)),) and third.work == (RowWork(0, 4, 1, True),)


def test_decodes_come_first_and_prompts_share_what_the_budget_leaves() -> None:
    """Of eight tokens two decodes take two; the long prompt gets the other six, chunk by chunk."""
    play = Playbook(config(max_batched_tokens=8))
    play.submit("a", 2)
    play.submit("b", 2)
    play.step()
    play.submit("long", 15)
    assert play.plan() == "+long a[2:3]* b[2:3]* long[0:6]"
    assert play.plan() == "a[3:4]* b[3:4]* long[6:12]"
    play.commit()
    assert play.plan() == "a+1 b+1 a[4:5]* b[4:5]* long[12:15]*"


def test_a_running_prompt_is_continued_before_another_is_admitted() -> None:
    """Chunks go to the prompts that run, then to those that wait."""
    play = Playbook(config(max_batched_tokens=8))
    play.submit("a", 10)
    play.submit("b", 10)
    assert play.plan() == "+a a[0:8]"
    assert play.plan() == "+b a[8:10]* b[0:6]"
    assert play.commit() == ""


def test_no_more_requests_run_than_there_are_rows() -> None:
    """The next one is admitted in the very plan that removes the row of one that has ended."""
    play = Playbook(config(max_num_seqs=2))
    for id in "abc":
        play.submit(id, 3, max_tokens=2)
    assert play.plan() == "+a +b a[0:3]* b[0:3]*"
    assert play.plan() == "a[3:4]* b[3:4]*"
    play.commit()
    assert play.plan() == "-a -b +c c[0:3]*"


def test_waiting_requests_are_admitted_by_priority_and_then_by_arrival() -> None:
    """Lower priorities first; among equals who came first."""
    play = Playbook(config(max_num_seqs=1))
    play.submit("late", 3, max_tokens=1, arrival=2)
    play.submit("early", 3, max_tokens=1, arrival=1)
    play.submit("urgent", 3, max_tokens=1, arrival=3, priority=-1)
    assert [play.step() for _ in range(3)] == ["urgent@0=100:length", "early@0=100:length", "late@0=100:length"]


def test_a_low_priority_ages_and_is_not_overtaken_for_ever() -> None:
    """One level is worth `aging_s` seconds of waiting: who comes later than that goes behind."""
    play = Playbook(config(max_num_seqs=1, aging_s=10))
    play.submit("patient", 3, max_tokens=1, priority=1, arrival=0)
    play.submit("urgent", 3, max_tokens=1, priority=0, arrival=9)
    play.submit("too late", 3, max_tokens=1, priority=0, arrival=11)
    assert [play.step()[0] for _ in range(3)] == ["u", "p", "t"]


def test_nobody_overtakes_a_request_that_finds_no_room() -> None:
    """A large request at the head of the queue is not starved by small ones behind it."""
    play = Playbook(config(num_blocks=10, block_size=4))
    play.submit("first", 16, max_tokens=5)
    play.submit("large", 30, max_tokens=3)
    play.submit("small", 2, max_tokens=1)
    play.step()
    while "first" in play.scheduler._requests.by_id:
        assert "+" not in (play.plan() or "").replace("first+1", "")
        play.commit()
    assert play.plan() == "-first +large +small large[0:30]* small[0:2]*"


def test_the_queue_wait_is_measured_on_the_callers_clock() -> None:
    """`now` and `arrival` are on one clock: their difference at the first admission is what a request has waited."""
    play = Playbook()
    play.submit("a", 3, arrival=10.0)
    play.plan(12.5)
    assert play.statistic("queued_s") == 2.5


# ---- who is held ----------------------------------------------------------------------------------------------------


def test_an_id_that_is_held_is_not_taken_twice() -> None:
    """A redelivered request changes nothing; once its request has ended an id is free again."""
    play = Playbook()
    play.submit("a", 3, max_tokens=1)
    assert play.submit("a", 9) == ""
    assert play.step() == "a@0=100:length"
    play.submit("a", 4, max_tokens=1)
    assert play.plan() == "-a +a a[0:4]*"


# ---- aborts ----------------------------------------------------------------------------------------------------------


def test_an_abort_ends_a_request_wherever_it_is() -> None:
    """Waiting or running: one delta with the reason, at the offset that was committed; unknown ids are ignored."""
    play = Playbook(config(max_num_seqs=1))
    play.submit("a", 3)
    play.submit("b", 3)
    play.step()
    assert play.abort("b") == "b@0:cancel"
    assert play.abort("a", FinishReason.ERROR) == "a@1:error"
    assert play.abort("a") == "" and play.abort("nobody") == ""
    assert play.scheduler.idle and play.statistic("aborted") == 2


def test_an_abort_of_a_parent_ends_all_its_choices() -> None:
    """By the parent's id, in the order of submission; other parents do not notice."""
    play = Playbook()
    for id in ("p.0", "q.0", "p.1"):
        play.submit(id, 3)
    assert play.abort("p") == "p.0@0:cancel p.1@0:cancel"
    assert play.plan() == "+q.0 q.0[0:3]*"


def test_a_lone_request_may_bear_its_parents_name() -> None:
    """Then an abort by that id ends it once."""
    play = Playbook()
    play.submit("a", 3, parent="a")
    assert play.abort("a") == "a@0:cancel" and play.scheduler.idle


# ---- the rest of the interface ---------------------------------------------------------------------------------------


def test_stateless_sends_every_scheduled_row_whole() -> None:
    """For comparison: tokens known here and the whole table, in each step; nothing is appended."""
    play = Playbook(config(stateless=True))
    play.submit("a", 4, max_tokens=4)
    assert play.plan() == "+a a[0:4]*"
    assert play.plan() == "+a a[4:5]*"
    play.commit(a=7)
    assert play.plan() == "+a a[5:6]*"
    assert [(add.tokens, add.blocks) for plan in play.plans for add in plan.added] == [
        ((0, 1, 2, 3), (0,)),
        ((0, 1, 2, 3), (0, 1)),  # the token drawn in flight is known to the device only
        ((0, 1, 2, 3, 7), (0, 1)),
    ]


def test_a_result_of_another_step_is_refused_and_changes_nothing() -> None:
    """A worker that answers out of order, or too much, is broken; the scheduler says so."""
    play = Playbook()
    with pytest.raises(ValueError, match="answered step 0; none is due"):
        play.scheduler.commit(StepResult(0, ()))
    play.submit("a", 3)
    play.plan()
    with pytest.raises(ValueError, match="answered step 1; step 0 is due"):
        play.scheduler.commit(StepResult(1, (5,)))
    with pytest.raises(ValueError, match="step 0 draws 1 tokens; the worker answered 2"):
        play.scheduler.commit(StepResult(0, (5, 5)))
    assert play.commit(a=5) == "a@0=5"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: config(num_blocks=0), "num_blocks must be at least 1"),
        (lambda: config(max_model_len=1), "max_model_len must be at least 2"),
        (
            lambda: config(max_num_seqs=8, max_batched_tokens=7),
            r"max_batched_tokens \(7\) must be at least max_num_seqs \(8\)",
        ),
        (lambda: config(aging_s=float("nan")), "aging_s must be finite"),
    ],
)
def test_a_setting_that_cannot_work_is_named(make: Callable[[], object], words: str) -> None:
    """A start that cannot succeed says why in one line."""
    with pytest.raises(ConfigError, match=words):
        make()


def test_an_abort_before_the_first_plan_leaves_nothing() -> None:
    """Nothing was given, so nothing is to be removed."""
    play = Playbook()
    play.submit("a", 3)
    play.scheduler.handle(Abort("a"))
    play.submit("b", 3)
    assert play.plan() == "+b b[0:3]*"
