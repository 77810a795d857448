"""Blocks and rows: taken, shared, given back; and a check that notices when the books are wrong."""

from collections import Counter

import pytest

from services.engine.core.blocks import BlockPool
from services.engine.core.prefix import Chain
from services.engine.core.rows import Rows


def test_every_block_is_given_once() -> None:
    """As many as there are, each to one owner."""
    pool = BlockPool(3)
    assert sorted(pool.take() for _ in range(3)) == [0, 1, 2]
    assert pool.free == 0
    pool.check(Counter([0, 1, 2]))


def test_a_shared_block_is_free_when_its_last_owner_releases_it() -> None:
    """Counts, not flags; `returned` counts what became free."""
    pool = BlockPool(2)
    block = pool.take()
    pool.index.insert(Chain("", 1).digest(0, [1]), block)
    pool.share([block])
    pool.release([block])
    assert (pool.free, pool.returned) == (1, 0)
    pool.release([block])
    assert (pool.free, pool.kept, pool.returned) == (2, 1, 1)
    pool.check(Counter())


def test_blank_blocks_are_given_before_those_with_a_known_text() -> None:
    """What may be used again is kept as long as there is another block."""
    pool, chain = BlockPool(3), Chain("", 1)
    blocks = [pool.take() for _ in range(3)]
    for index, block in enumerate(blocks[:2]):
        pool.index.insert(chain.digest(index, [1, 2]), block)
    pool.release(blocks)
    assert [pool.take() for _ in range(3)] == [blocks[2], blocks[1], blocks[0]]
    assert len(pool.index) == 0


def test_room_counts_idle_shared_blocks_as_used() -> None:
    """Sharing a kept block takes it out of the free ones, sharing a referenced one does not."""
    pool, chain = BlockPool(4), Chain("", 1)
    used, kept = pool.take(), pool.take()
    for index, block in enumerate((used, kept)):
        pool.index.insert(chain.digest(index, [1, 2]), block)
    pool.release([kept])
    assert pool.free_after([used, kept], 2) == 0
    pool.share([used, kept])
    assert pool.free == 2


def test_check_notices_a_leak_and_a_wrong_count() -> None:
    """It would be no use otherwise."""
    pool = BlockPool(2)
    block = pool.take()
    with pytest.raises(AssertionError, match="counts 1 owners, but has 0"):
        pool.check(Counter())
    pool._references[block] = 0
    with pytest.raises(AssertionError, match="leaked"):
        pool.check(Counter())


def test_a_vacated_row_is_announced_once_and_free_at_once() -> None:
    """The next plan tells the worker; the row may be taken in that same plan."""
    rows = Rows(2)
    first = rows.take()
    rows.vacate(first)
    rows.check([])
    assert rows.take() == first and rows.removed() == (first,) and rows.removed() == ()
    with pytest.raises(AssertionError, match="taken twice"):
        rows.check([first, first])
