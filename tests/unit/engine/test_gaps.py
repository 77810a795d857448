"""Why the device was idle, by made-up intervals."""

import pytest

from services.engine.gaps import KEPT, NO_GAP, Cause, Gaps

WORK, PLAN, SUBMIT, BUS, LOOP = Cause


def after_a_step() -> Gaps:
    """One step ran from 50 to 100."""
    gaps = Gaps()
    assert gaps.before(50, 100, 40, 0, 0) == NO_GAP
    return gaps


def test_each_part_of_a_gap_goes_to_what_the_loop_did_then_and_the_rest_to_the_loop() -> None:
    """Seen 3 late; commit 10, bus 20, plan 15, submit 7; 5 until a thread launches, for 2; 1 until it runs."""
    gaps = after_a_step()
    for cause, begin, end in ((PLAN, 103, 113), (BUS, 113, 133), (PLAN, 133, 148), (SUBMIT, 148, 155)):
        gaps.note(cause, begin, end)
    gap = gaps.before(163, 200, 155, 160, 2)
    assert gap.ns == 63 and gap.parts == {PLAN: 25, BUS: 20, SUBMIT: 9, LOOP: 9}
    assert gap.cause is PLAN


def test_the_parts_are_the_whole() -> None:
    gaps = after_a_step()
    for begin in range(60, 200, 10):
        gaps.note(Cause(list(Cause)[begin // 10 % 4]), begin, begin + 9)
    gap = gaps.before(190, 300, 170, 165, 40)
    assert sum(gap.parts.values()) == gap.ns == 90


@pytest.mark.parametrize("begun", [100, 90])
def test_steps_one_behind_another_have_no_gap(begun: int) -> None:
    gaps = after_a_step()
    gaps.note(PLAN, 80, 120)
    assert gaps.before(begun, 200, 95, 0, 0) == NO_GAP and NO_GAP.cause is None


def test_what_the_loop_does_behind_a_submitted_step_holds_nobody_up() -> None:
    """Step N+1 was handed over at 110 and begins at 150; the loop plans N+2 from 112 on."""
    gaps = after_a_step()
    gaps.note(SUBMIT, 105, 110)
    gaps.note(PLAN, 112, 148)
    assert gaps.before(150, 200, 110, 0, 0).parts == {SUBMIT: 5, LOOP: 45}


def test_what_was_planned_while_the_step_before_ran_costs_nothing() -> None:
    gaps = after_a_step()
    gaps.note(PLAN, 60, 99)
    gaps.note(SUBMIT, 99, 104)
    assert gaps.before(104, 200, 104, 0, 0).parts == {SUBMIT: 4}


def test_an_interval_counts_for_each_gap_that_it_lies_in() -> None:
    """A plan that began in one gap and, for the step after, ends in the next."""
    gaps = after_a_step()
    gaps.note(SUBMIT, 101, 102)
    gaps.note(PLAN, 110, 130)
    assert gaps.before(105, 120, 102, 0, 0).parts == {SUBMIT: 1, LOOP: 4}
    assert gaps.before(140, 150, 135, 0, 0).parts == {PLAN: 10, LOOP: 10}


def test_nothing_to_do_is_one_wait_whatever_useless_comes_meanwhile() -> None:
    """Cancels of unknown requests wake the loop a thousand times: nothing grows, and the gap is for want of work."""
    gaps = after_a_step()
    for moment in range(110, 10_110, 10):
        gaps.waited(105, moment)
        gaps.note(PLAN, moment, moment + 1)
        assert len(gaps._intervals) <= 2
    gaps.waited(105, 20_000)
    assert gaps.before(20_001, 20_100, 20_001, 0, 0).parts == {WORK: 19_895, LOOP: 6}


def test_a_device_that_does_not_tell_has_no_gaps_and_keeps_nothing() -> None:
    gaps = Gaps()
    for moment in range(10 * KEPT):
        gaps.note(PLAN, moment, moment + 1)
        assert gaps.before(0, 0, moment + 1, 0, 0) == NO_GAP
    assert len(gaps._intervals) == KEPT
