"""Who uses which block of the paged KV cache.

A block is in one of three states: blank (free, nothing worth keeping in it), kept (free, but the index knows its text;
given out last, the longest unused first) or referenced by one or more requests, or by steps in flight on their behalf.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from services.engine.core.ages import SAMPLED, BlockAges
from services.engine.core.prefix import PrefixIndex


class BlockPool:
    __slots__ = ("_blank", "_kept", "_references", "ages", "index", "num_blocks", "returned")

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.index = PrefixIndex()
        self.ages = BlockAges()
        self.returned = 0  # how often a block became free; grows only
        self._references = [0] * num_blocks
        self._blank = list(range(num_blocks - 1, -1, -1))
        self._kept: OrderedDict[int, None] = OrderedDict()  # the longest unused first

    @property
    def free(self) -> int:
        """Blocks that `take` could give: the blank and the kept."""
        return len(self._blank) + len(self._kept)

    @property
    def kept(self) -> int:
        return len(self._kept)

    def free_after(self, shared: Sequence[int], fresh: int) -> int:
        """What `free` would be after sharing these blocks and taking `fresh` more; below 0 it cannot be done."""
        references = self._references
        return self.free - fresh - sum(references[block] == 0 for block in shared)

    def take(self) -> int:
        """A block for one owner, its text forgotten. The caller has looked at `free`."""
        if self._blank:
            block = self._blank.pop()
        else:
            block, _ = self._kept.popitem(last=False)
            self.index.forget(block)
        self._references[block] = 1
        if not block % SAMPLED:
            self.ages.taken(block)
        return block

    def share(self, blocks: Iterable[int]) -> None:
        """One more owner for blocks that the index has found."""
        for block in blocks:
            if not self._references[block]:
                del self._kept[block]
            self._references[block] += 1
            if not block % SAMPLED:
                self.ages.shared(block)

    def release(self, blocks: Sequence[int]) -> None:
        """One owner less for each. From the end, so of a chain that nobody uses the tail is evicted first."""
        references = self._references
        for block in reversed(blocks):
            references[block] -= 1
            if references[block]:
                continue
            self.returned += 1
            kept = block in self.index
            if kept:
                self._kept[block] = None
            else:
                self._blank.append(block)
            if not block % SAMPLED:
                self.ages.released(block, kept=kept)

    def check(self, references: Counter[int]) -> None:
        """`references`: for each block, how many owners the caller knows of."""
        self.index.check()
        free = [*self._blank, *self._kept]
        for block, count in enumerate(self._references):
            assert count == references[block], f"block {block} counts {count} owners, but has {references[block]}"
        assert len(free) == len(set(free)), "a block is free twice"
        assert set(free) == {block for block, count in enumerate(self._references) if not count}, "a block has leaked"
        assert all(block in self.index for block in self._kept), "a kept block is unknown to the index"
        assert not any(block in self.index for block in self._blank), "the index knows a blank block"
