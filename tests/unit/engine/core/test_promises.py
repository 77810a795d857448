"""Four of the engine's five promises that the scheduler alone can keep, and the snapshot they rest on.

The fifth, pressure, is the loop's: a scheduler that is not asked for a plan makes none.
"""

from pathlib import Path

import pytest

from services.engine import core
from tests.unit.engine.core.playbook import Playbook, config

# ---- progress --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_blocks", [4, 5, 6, 7, 8, 9])
def test_progress_a_plan_comes_unless_idle_or_in_flight(num_blocks: int) -> None:
    """Also when four requests of four blocks each share a pool that holds one, or two, or one and a half."""
    play = Playbook(config(num_blocks=num_blocks, block_size=4))
    for id in "abcd":
        play.submit(id, 5, max_tokens=11)
    while not play.scheduler.idle:
        assert play.plan() is not None, "nothing is in flight, somebody waits, and no step comes"
        play.commit()
    assert play.statistic("tokens_committed") == 4 * 11


def test_progress_two_steps_may_be_in_flight_and_no_more() -> None:
    """The bound is `max_in_flight`; beyond it, and with nothing held, there is no plan."""
    play = Playbook()
    assert play.plan() is None
    play.submit("a", 3)
    assert [play.plan(), play.plan(), play.plan()] == ["+a a[0:3]*", "a[3:4]*", None]
    play.commit()
    assert play.plan() == "a+1 a[4:5]*"


def test_progress_of_the_first_in_rank_never_stops() -> None:
    """Whoever is first in rank moves in every step, however many others there are for so few blocks."""
    play = Playbook(config(num_blocks=6, block_size=4))
    play.submit("a", 3, max_tokens=20, arrival=1)
    for number, id in enumerate("bcd"):
        play.submit(id, 1, max_tokens=20, arrival=2 + number)
    play.step()
    for start in range(3, 22):
        assert f" a[{start}:{start + 1}]*" in f" {play.plan()}"
        play.commit()
    assert play.scheduler._requests.by_id.keys() == set("bcd") and play.statistic("preemptions") > 0
    play.finish()


# ---- lateness --------------------------------------------------------------------------------------------------------


def test_lateness_a_token_drawn_after_a_stop_is_dropped() -> None:
    """The stop is seen one step late; what the step behind drew for that request is counted and told to nobody."""
    play = Playbook()
    play.submit("a", 3, stop_ids=(9,))
    play.submit("b", 3)
    play.plan()
    play.plan()
    assert play.commit(a=9, b=5) == "a@0=9:stop b@0=5"
    assert play.commit(a=6, b=6) == "b@1=6"
    assert play.statistic("dropped_late") == 1


def test_lateness_a_length_stop_wastes_no_row() -> None:
    """The last token's step is known at launch: nothing of the request is planned behind it."""
    play = Playbook()
    play.submit("a", 3, max_tokens=2)
    play.submit("b", 3)
    assert play.plan() == "+a +b a[0:3]* b[0:3]*"
    assert play.plan() == "a[3:4]* b[3:4]*"
    play.commit()
    assert play.plan() == "-a b+1 b[4:5]*"
    assert play.commit() == "a@1=100:length b@1=100"
    assert play.statistic("dropped_late") == 0


def test_lateness_the_flag_of_the_last_token_is_the_snapshots() -> None:
    """With two steps launched, only the second result ends the request: the live state has moved on by then."""
    play = Playbook()
    play.submit("a", 3, max_tokens=2)
    play.plan()
    play.plan()
    assert [play.commit(a=1), play.commit(a=2)] == ["a@0=1", "a@1=2:length"]


def test_lateness_nothing_comes_after_an_abort() -> None:
    """The end is told at once, though two steps of the request are in flight; its row goes with the next plan."""
    play = Playbook()
    play.submit("a", 3)
    play.submit("b", 3)
    play.plan()
    play.plan()
    assert play.abort("a") == "a@0:cancel"
    assert [play.commit(), play.commit()] == ["b@0=100", "b@1=100"]
    assert play.plan() == "-a b+1 b[4:5]*"
    assert play.statistic("dropped_late") == 2


def test_lateness_an_id_that_comes_back_is_another_request() -> None:
    """A result launched for the first bearer of an id says nothing of the second."""
    play = Playbook()
    play.submit("a", 3)
    play.plan()
    play.abort("a")
    play.submit("a", 4, max_tokens=2)
    assert play.plan() == "-a +a a[0:4]*"
    assert play.commit(a=7) == ""
    assert play.commit(a=8) == "a@0=8"
    play.finish()


# ---- lifetime --------------------------------------------------------------------------------------------------------


def test_lifetime_a_block_is_reused_only_after_its_last_step_commits() -> None:
    """An aborted request's blocks stay taken while a step that uses them is in flight."""
    play = Playbook(config(num_blocks=4, block_size=4))
    play.submit("a", 13, max_tokens=4)
    play.plan()
    play.plan()
    play.abort("a")
    play.submit("b", 13, max_tokens=4)
    assert play.statistic("free_blocks") == 0 and play.plan() is None
    play.commit()
    assert play.statistic("free_blocks") == 0 and play.plan() is None
    play.commit()
    assert play.statistic("free_blocks") == 4 and play.plan() == "-a +b b[0:13]*"


def test_lifetime_also_holds_for_a_stop_and_for_a_length() -> None:
    """After a stop the step behind still writes; after a length stop the last step does."""
    play = Playbook(config(num_blocks=8, block_size=4))
    play.submit("stop", 3, stop_ids=(9,))
    play.submit("length", 3, max_tokens=2)
    play.plan()
    play.plan()
    assert play.commit(stop=9) == "stop@0=9:stop length@0=100"
    assert play.statistic("free_blocks") == 6
    play.commit()
    assert play.statistic("free_blocks") == 8


def test_lifetime_a_row_is_reused_by_the_plan_that_removes_it() -> None:
    """Plans are applied in order on the device, so a row need not wait for a commit as blocks do."""
    play = Playbook(config(max_num_seqs=1))
    play.submit("a", 3, max_tokens=1)
    play.submit("b", 3, max_tokens=1)
    assert play.plan() == "+a a[0:3]*"
    assert play.plan() == "-a +b b[0:3]*"


def test_lifetime_nothing_is_left_when_the_last_request_is_aborted_in_flight() -> None:
    """With no further plan, rows and blocks come back at the commit of the last step; the worker hears of it later."""
    play = Playbook()
    play.submit("a", 3)
    play.plan()
    play.plan()
    play.abort("a")
    assert play.scheduler.idle and play.plan() is None
    assert (play.commit(), play.commit()) == ("", "")
    assert play.statistic("free_blocks") == play.statistic("num_blocks")
    play.submit("b", 3)
    assert play.plan() == "-a +b b[0:3]*"


# ---- colour ----------------------------------------------------------------------------------------------------------


def test_colour_the_core_waits_for_nothing() -> None:
    """No `await` and no import that could wait, compute on a device, read a clock or throw dice."""
    for source in Path(*core.__path__).glob("*.py"):
        if source.name == "ports.py":  # names the awaitable that the shell awaits
            continue
        text = source.read_text()
        assert "async " not in text and "await " not in text, source.name
        for module in ("torch", "numpy", "redis", "asyncio", "threading", "time", "random"):
            assert f"import {module}" not in text and f"from {module}" not in text, f"{source.name} uses {module}"
