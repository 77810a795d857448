"""A pool that is too small: who gives way, when its blocks come back, and that nothing is lost by it."""

from tests.unit.engine.core.playbook import Playbook, config


def test_the_latest_gives_way_to_the_first_in_rank() -> None:
    """Without anything in flight its blocks move at once, its row is removed in this plan, and it waits."""
    play = Playbook(config(num_blocks=5, block_size=4))
    play.submit("a", 7, max_tokens=10, arrival=1)
    play.submit("b", 7, max_tokens=5, arrival=2)
    assert play.step(a=1, b=2) == "a@0=1 b@0=2"
    assert play.step(a=3, b=4) == "a@1=3 b@1=4"
    assert play.plan() == "a+1 a[8:9]*", "b needs a block too; it waits, keeping what it holds"
    play.commit()
    for _ in range(3):
        play.step()
    assert play.plan() == "-b a+1 a[12:13]*"
    assert (play.statistic("preemptions"), play.statistic("waiting"), play.statistic("free_blocks")) == (1, 1, 1)


def test_a_preempted_request_goes_on_with_all_it_had() -> None:
    """It is admitted again with its committed output, computes that anew, and its next token has the next offset."""
    play = Playbook(config(num_blocks=5, block_size=4))
    play.submit("a", 7, max_tokens=10, arrival=1)
    play.submit("b", 7, max_tokens=5, arrival=2)
    play.step(a=1, b=2)
    play.step(a=3, b=4)
    play.run_while_held("a")
    assert play.plan() == "-a +b b[0:9]*"
    assert play.plans[-1].added[0].tokens == (0, 1, 2, 3, 4, 5, 6, 2, 4)
    assert play.plans[-1].began == (), "it began long ago"
    assert play.commit(b=5) == "b@2=5"
    play.finish()


def in_flight(*others: str, num_blocks: int, max_in_flight: int = 2) -> Playbook:
    """Until the plan that preempts. `a` fills a block two steps before the others do, so it meets them decoding."""
    play = Playbook(config(num_blocks=num_blocks, block_size=4, max_in_flight=max_in_flight))
    play.submit("a", 3, max_tokens=14, arrival=1)
    for number, id in enumerate(others):
        play.submit(id, 1, max_tokens=16, arrival=2 + number, stop_ids=(9,))
    while play.statistic("preemptions") == 0:
        if len(play.flying) == max_in_flight:
            play.commit()
        play.plan()
    return play


def test_blocks_of_a_preempted_request_wait_for_its_last_step() -> None:
    """In flight it gives up its row only. Whoever wants the blocks waits for the commit and preempts nobody else."""
    play = in_flight("b", "c", num_blocks=6, max_in_flight=3)
    assert [work.row for work in play.plans[-1].work] == [1], "b goes on; a wants a block"
    assert play.plans[-1].removed == (2,) and play.statistic("free_blocks") == 0
    play.commit()
    assert play.plan() == "b[7:8]*", "c is in flight still"
    assert "c@" in play.commit() and play.statistic("free_blocks") == 2
    assert play.plan() == "a+1 b+1 a[8:9]* b[8:9]*"
    assert play.statistic("preemptions") == 1
    play.finish()


def test_tokens_in_flight_of_a_preempted_request_are_still_told() -> None:
    """They are right, and they are paid for; it goes back to the queue when the last of them is known."""
    play = in_flight("b", num_blocks=4)
    assert play.statistic("waiting") == 0
    assert play.commit(b=7) == "a@5=100 b@5=7" and play.statistic("waiting") == 1
    play.run_while_held("a")
    assert play.plan() == "-a +b b[0:7]*"
    assert play.plans[-1].added[0].tokens == (0, 100, 100, 100, 100, 100, 7)
    play.finish()
    assert play.statistic("tokens_committed") == 14 + 16


def test_a_preempted_request_may_end_by_what_was_in_flight() -> None:
    """A stop id among those tokens ends it for good; it does not come back to the queue."""
    play = in_flight("b", num_blocks=4)
    assert play.commit(b=9) == "a@5=100 b@5=9:stop"
    assert "b" not in play.scheduler._requests.by_id and play.statistic("waiting") == 0
    play.finish()


def test_a_preempted_request_can_be_aborted_before_its_last_step_commits() -> None:
    """Its blocks come back once, at that commit."""
    play = in_flight("b", num_blocks=4)
    assert play.abort("b") == "b@5:cancel" and play.statistic("free_blocks") == 0
    play.commit()
    assert play.statistic("free_blocks") == 2
    play.finish()


def test_a_higher_priority_takes_from_a_lower_one_that_came_first() -> None:
    """Rank decides who gives way, not who was there before."""
    play = Playbook(config(num_blocks=5, block_size=4))
    play.submit("low", 3, max_tokens=15, arrival=1, priority=1)
    play.step()
    play.submit("high", 3, max_tokens=15, arrival=2)
    while play.statistic("preemptions") == 0:
        play.step()
    assert [request.id for request in play.scheduler._residents.by_rank] == ["high"]
    play.finish()


def test_what_was_taken_from_one_request_goes_to_the_one_it_was_taken_for() -> None:
    """The victim does not come back in the plan that preempts it, nor does one behind it slip in."""
    play = Playbook(config(num_blocks=4, block_size=4))
    play.submit("a", 3, max_tokens=14, arrival=1)
    play.submit("b", 1, max_tokens=16, arrival=2)
    play.submit("tiny", 1, max_tokens=1, arrival=3)
    plan = ""
    while play.statistic("preemptions") == 0:
        plan = play.plan() or ""
        play.commit()
    assert plan == "-b a+1 a[8:9]*"
    play.finish()


def test_an_admission_leaves_each_running_request_the_prospect_of_a_block() -> None:
    """Else the newcomer would be preempted, and its prompt computed for nothing, as soon as somebody grows."""
    play = Playbook(config(num_blocks=5, block_size=4))
    play.submit("a", 7, max_tokens=6)
    play.step()
    play.submit("b", 9, max_tokens=2)
    assert play.plan() == "a[7:8]*", "b would fit the three blocks that are free, and leave none to a"
    play.finish()
    assert play.statistic("preemptions") == 0
