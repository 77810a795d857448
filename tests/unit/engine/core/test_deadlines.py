"""A deadline ends its request wherever it is, and nothing is kept of those who ended before."""

from services.engine.core.deadlines import FEW, Deadlines
from services.engine.core.request import Phase, Request
from tests.unit.engine.core.playbook import Playbook, config
from tests.unit.engine.core.random_driver import a_submit


def test_a_request_that_waits_ends_at_its_deadline() -> None:
    """Not before; and it has never begun."""
    play = Playbook(config(max_num_seqs=1))
    play.submit("a", 3)
    play.submit("b", 3, deadline=5.0)
    play.plan(1.0)
    assert play.expire(4.999) == ""
    assert play.expire(5.0) == "b@0:timeout"
    assert play.expire(6.0) == "" and play.statistic("expired") == 1 and play.statistic("waiting") == 0
    play.finish()


def test_a_request_that_runs_ends_at_its_deadline_and_gives_back_all() -> None:
    """What was committed stands, what is in flight is dropped, blocks come back with the last step."""
    play = Playbook()
    play.submit("a", 3, deadline=5.0)
    play.submit("b", 3, deadline=7.0)
    play.step()
    play.plan()
    assert play.expire(6.0) == "a@1:timeout"
    assert play.commit() == "b@1=100"
    assert play.expire(7.0) == "b@2:timeout"
    assert play.scheduler.idle and play.plan() is None
    assert play.statistic("free_blocks") == play.statistic("num_blocks")


def test_a_request_that_comes_too_late_never_runs() -> None:
    play = Playbook()
    play.submit("a", 3, deadline=1.0)
    assert play.expire(2.0) == "a@0:timeout" and play.plan() is None


def test_a_preempted_request_ends_in_the_queue_and_while_parked() -> None:
    """Its tokens were told, its blocks are others' now; the books balance."""
    play = Playbook(config(num_blocks=5, block_size=4, max_num_seqs=2))
    play.submit("a", 7, max_tokens=9)
    play.submit("b", 7, max_tokens=9, arrival=1.0, deadline=50.0)
    while not play.statistic("preemptions"):
        if play.plan() is None:
            play.commit()
    assert play.expire(50.0).endswith(":timeout")
    play.finish()


def test_those_who_ended_before_their_deadline_are_swept() -> None:
    """The heap is at most twice what is held, however many pass."""
    deadlines = Deadlines()
    for epoch in range(5000):
        event = a_submit(f"r{epoch}", (1,), max_tokens=1)
        request = Request(event, epoch, 2, 30.0, 4)
        request.deadline = 100.0 + epoch
        deadlines.add(request)
        request.phase = Phase.ENDED
        assert len(deadlines) <= 2 * FEW + 1
    assert deadlines.passed(1e9) == []


def test_no_deadline_is_none() -> None:
    play = Playbook()
    play.submit("a", 3)
    assert play.expire(1e18) == "" and len(play.scheduler._deadlines) == 0
    play.finish()
