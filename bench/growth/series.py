"""What one thing costs at several sizes of another, and the power of the size that this follows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import linear_regression
from typing import Literal

Word = Literal["flat", "linear", "worse"]
# Exponents that still are this. Work that is linear by count takes more than linear time where it outgrows a cache.
MOST: Mapping[Word, float] = {"flat": 0.2, "linear": 1.3, "worse": math.inf}
FITTED = 3  # of the largest sizes: a fixed part weighs least there


@dataclass(frozen=True, slots=True)
class Sweep:
    """`lines` are milliseconds of CPU time per step by what they were spent on, one for each of `sizes`."""

    name: str  # what the sizes count
    about: str  # the rest of the load
    expected: Word
    sizes: Sequence[int]
    lines: Mapping[str, Sequence[float]]

    def exponent(self, line: str) -> float:
        return exponent(self.sizes, self.lines[line])

    def word(self, line: str) -> Word:
        return word(self.exponent(line))

    @property
    def worse(self) -> list[str]:
        """Lines that grow faster than expected."""
        return [line for line in self.lines if self.exponent(line) > MOST[self.expected]]


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The slope in a plot with two logarithmic axes, over the FITTED largest sizes; a size of 0 has no place there."""
    points = [(math.log(size), math.log(cost)) for size, cost in zip(sizes, costs, strict=True) if size][-FITTED:]
    return linear_regression(*zip(*points, strict=True)).slope


def word(exponent: float) -> Word:
    return next(name for name, most in MOST.items() if exponent <= most)


def shown(exponent: float) -> str:
    """Two decimals, and no zero below zero."""
    return f"{round(exponent, 2) + 0.0:.2f}"
