"""Prompts whose own tokens are scored: at which computed positions, and for which tokens.

The logits at a position say how likely the next token was, which for a prompt is known. A row is probed while it
computes its prompt for the first time; with output behind it, its prompt was told long ago.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from services.engine.core.step import RowAdd, RowWork, StepPlan
from shared.types import TokenIds


@dataclass(frozen=True, slots=True)
class Probed:
    """Of one step; `positions` count its tokens in the order of the work."""

    positions: list[int]
    targets: list[int]
    rows: list[tuple[int, int, int]]  # (row, how many of the above, ids wanted beside)

    @property
    def wanted(self) -> list[int]:
        """For each position."""
        return [wanted for _, count, wanted in self.rows for _ in range(count)]


NOT_PROBED = Probed([], [], [])


class _Probe(NamedTuple):
    prompt: TokenIds
    wanted: int  # ids told beside each token


class Probes:
    """What a host remembers of the rows that are probed."""

    def __init__(self) -> None:
        self._probes: dict[int, _Probe] = {}

    def of(self, plan: StepPlan, work: Iterable[RowWork]) -> Probed:
        """Take in the plan's rows; `work` is that of the plan, in the order in which it is computed."""
        for row in (*plan.removed, *(add.row for add in plan.added)):
            self._probes.pop(row, None)
        self._probes |= {add.row: _probe(add) for add in plan.added if _is_probed(add)}
        return self._probed(work) if self._probes else NOT_PROBED

    def _probed(self, work: Iterable[RowWork]) -> Probed:
        positions: list[int] = []
        targets: list[int] = []
        rows: list[tuple[int, int, int]] = []
        first = 0
        for one in work:
            if (probe := self._probes.get(one.row)) is not None:
                told = probe.prompt[one.start + 1 : one.start + one.count + 1]
                if told:  # else the row is behind its prompt
                    positions += range(first, first + len(told))
                    targets += told
                    rows.append((one.row, len(told), probe.wanted))
            first += one.count
        return Probed(positions, targets, rows)


def _is_probed(add: RowAdd) -> bool:
    return add.sampling.prompt_logprobs >= 0 and len(add.tokens) == add.prompt_len


def _probe(add: RowAdd) -> _Probe:
    return _Probe(add.tokens, add.sampling.prompt_logprobs)
