"""Which rows of the worker are taken.

Plans are applied in their order on the device, so a row may be given to the next request in the very plan that removes
the one before; the worker hears of a removal with the next plan, whenever that is.
"""

from collections.abc import Iterable


class Rows:
    __slots__ = ("_free", "_removed", "num_rows")

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self._free = list(range(num_rows - 1, -1, -1))
        self._removed: list[int] = []

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self) -> int:
        return self._free.pop()

    def vacate(self, row: int) -> None:
        self._free.append(row)
        self._removed.append(row)

    def removed(self) -> tuple[int, ...]:
        """The rows vacated since the last call."""
        removed = tuple(self._removed)
        self._removed.clear()
        return removed

    def check(self, taken: Iterable[int]) -> None:
        assert sorted([*self._free, *taken]) == list(range(self.num_rows)), "a row is lost, or taken twice"
        assert set(self._removed) <= set(self._free), "a row is to be removed and in use"
