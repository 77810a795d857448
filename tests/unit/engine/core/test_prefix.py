"""Text that is computed once: block names, who may share, and what is evicted first."""

import pytest

from services.engine.core.prefix import Chain, PrefixIndex
from tests.unit.engine.core.playbook import Playbook, config


def caching(num_blocks: int = 64, max_num_seqs: int = 4) -> Playbook:
    return Playbook(config(num_blocks=num_blocks, block_size=4, max_num_seqs=max_num_seqs, prefix_caching=True))


# ---- names -----------------------------------------------------------------------------------------------------------


def test_a_name_covers_everything_before_its_block() -> None:
    """Equal blocks behind unequal ones, or under another salt, have other names."""
    one, two, salted = Chain("", 2), Chain("", 2), Chain("tenant", 2)
    assert one.digest(1, [1, 2, 3, 4]) == two.digest(1, [1, 2, 3, 4, 5])
    assert one.digest(1, [1, 2, 3, 4]) != Chain("", 2).digest(1, [1, 9, 3, 4])
    assert one.digest(0, [1, 2, 3, 4]) != salted.digest(0, [1, 2, 3, 4])
    assert Chain("", 1).digest(1, [1, 1]) != Chain("", 1).digest(0, [1, 1])


def test_names_tell_apart_what_python_hashes_alike() -> None:
    """hash(-1) == hash(-2), and small digests collide; 32 bytes of blake2b over the ids do not."""
    assert Chain("", 1).digest(0, [256]) != Chain("", 1).digest(0, [1])
    assert len(Chain("", 1).digest(0, [7])) == 32
    with pytest.raises(AssertionError, match="only full blocks"):
        Chain("", 4).digest(0, [1, 2, 3])


def test_the_index_knows_one_block_for_one_text() -> None:
    """A second block with the same text stays unknown, so forgetting it cannot take the first one's name."""
    index, chain = PrefixIndex(), Chain("", 1)
    index.insert(chain.digest(0, [5]), 10)
    index.insert(chain.digest(0, [5]), 11)
    assert 10 in index and 11 not in index and len(index) == 1
    assert index.find(chain, [5, 6], 2) == [10]
    index.forget(10)
    assert index.find(chain, [5, 6], 2) == [] and len(index) == 0
    index.check()


# ---- sharing ---------------------------------------------------------------------------------------------------------


def test_a_prompt_that_was_computed_is_not_computed_again() -> None:
    """Full blocks are shared; the part of a block behind them is computed anew."""
    play = caching()
    play.submit("a", 10, max_tokens=1)
    play.step()
    play.submit("b", 10, max_tokens=1)
    assert play.plan() == "-a +b b[8:10]*"
    assert (play.statistic("prefix_queries"), play.statistic("prefix_hits")) == (20, 8)


def test_at_least_one_token_is_left_to_compute() -> None:
    """A prompt of whole blocks, all of them known, still needs logits to draw from."""
    play = caching()
    play.submit("a", 8, max_tokens=1)
    play.step()
    play.submit("b", 8, max_tokens=1)
    assert play.plan() == "-a +b b[4:8]*"


def test_nothing_is_shared_before_its_step_commits() -> None:
    """Two equal prompts that start together are both computed; the index keeps one of the two."""
    play = caching()
    play.submit("a", 9, max_tokens=1)
    assert play.plan() == "+a a[0:9]*"
    play.submit("b", 9, max_tokens=1)
    assert play.plan() == "-a +b b[0:9]*"
    play.commit()
    play.commit()
    assert play.statistic("cached_blocks") == 2
    play.submit("c", 9, max_tokens=1)
    assert play.plan() == "-b +c c[8:9]*"


def test_a_block_that_is_not_full_yet_is_not_shared() -> None:
    """Its tokens are known, being prompt, but the step that computes the last of them has not run."""
    play = Playbook(config(block_size=4, prefix_caching=True, max_batched_tokens=6))
    play.submit("a", 8)
    play.step()
    play.submit("b", 9)
    assert play.plan() == "+b a[6:8]* b[4:8]"


def test_output_is_shared_too() -> None:
    """The next turn of a chat finds the answer of the last one: blocks are named when their values are known."""
    play = caching()
    play.submit("a", (1, 2, 3), max_tokens=6)
    for token in (4, 5, 6, 7, 8, 9):
        play.step(a=token)
    play.submit("b", (1, 2, 3, 4, 5, 6, 7, 8, 9, 10), max_tokens=1)
    assert play.plan() == "-a +b b[8:10]*"


def test_different_salts_share_nothing() -> None:
    """What one tenant asked cannot be felt by another one; within a salt sharing goes on."""
    play = caching()
    play.submit("a", 10, max_tokens=1, salt="one")
    play.step()
    play.submit("b", 10, max_tokens=1, salt="two")
    assert play.plan() == "-a +b b[0:10]*"
    play.commit()
    play.submit("c", 10, max_tokens=1, salt="one")
    assert play.plan() == "-b +c c[8:10]*"


def test_blocks_in_use_are_shared_with_counts() -> None:
    """A prefix belongs to two requests; it is free when both have gone."""
    play = caching(num_blocks=16)
    play.submit("a", 9, max_tokens=8)
    play.step()
    play.submit("b", 9, max_tokens=8)
    play.step()
    assert play.statistic("free_blocks") == 16 - 3 - 1
    play.abort("a")
    assert play.statistic("free_blocks") == 16 - 3
    play.finish()
    assert play.statistic("free_blocks") == 16


def test_without_prefix_caching_nothing_is_kept() -> None:
    """The switch is one field of the settings."""
    play = Playbook(config(block_size=4))
    play.submit("a", 10, max_tokens=1)
    play.step()
    play.submit("b", 10, max_tokens=1)
    assert play.plan() == "-a +b b[0:10]*"
    assert play.statistic("cached_blocks") == play.statistic("prefix_queries") == 0


# ---- eviction --------------------------------------------------------------------------------------------------------


def test_the_longest_unused_text_is_evicted_first_and_tails_before_heads() -> None:
    """Of two idle chains the older one loses blocks, from its end; what is left of it can still be shared."""
    play = caching(num_blocks=6, max_num_seqs=1)
    play.submit("a", tuple(range(10, 22)), max_tokens=1)
    play.step()
    play.submit("b", tuple(range(30, 38)), max_tokens=1)
    play.step()
    assert play.statistic("cached_blocks") == 5
    play.submit("c", tuple(range(50, 58)), max_tokens=1)
    play.step()
    play.submit("again", (*range(10, 22), 1), max_tokens=1)
    assert play.plan() == "-c +again again[8:13]*"
    play.finish()


def test_a_head_that_was_turned_away_is_looked_at_again_when_blocks_come_back() -> None:
    """Not in every step: the walk along its chain waits until something has changed."""
    play = caching(num_blocks=8)
    play.submit("a", 13, max_tokens=16, stop_ids=(9,))
    play.step()
    play.submit("b", tuple(range(50, 75)), max_tokens=1)
    for _ in range(3):
        assert "+b" not in (play.plan() or "")
        play.commit()
    play.step(a=9)
    assert play.plan() == "-a +b b[0:25]*"


def test_a_preempted_request_finds_its_own_blocks_again() -> None:
    """Recompute is cheap where nobody has overwritten the blocks meanwhile."""
    play = caching(num_blocks=4)
    play.submit("a", (1, 2, 3), max_tokens=8, arrival=1)
    play.submit("b", (5,), max_tokens=15, arrival=2)
    while play.statistic("preemptions") == 0:
        play.step()
    known = play.scheduler._requests.by_id["b"].known
    play.run_while_held("a")
    assert play.plan() == f"-a +b b[4:{known}]*"
    play.finish()
