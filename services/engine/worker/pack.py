"""A StepPlan as one block of int32: everything that goes up to the device in a step, in one copy.

    header | added rows | their tokens | their lists | block places | block ids | rows | starts | counts
           | sampled | penalised | steered | scored | probed | targets | masked

The work is reordered: rows that compute one token first, in the order of their positions (attention wants them so),
then the chunks. What is drawn is reordered too, by what the draw costs: greedy, plain, min-p, top-k, top-p; and
`Packed.order` leads back. Floats travel as their bits. A block can be read by itself: other ranks can be sent the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from services.engine.core.step import RowAdd, RowWork, StepPlan
from services.engine.worker.columns import Column, Ints, Listed, columns_of
from services.engine.worker.probes import NOT_PROBED, Probed, Probes
from services.engine.worker.score_layout import numbers_of, read, size_for
from shared.types import SamplingParams, Score, TokenIds


class Header(NamedTuple):
    """How long each part is, so that a block can be read by itself."""

    step: int
    added: int
    tokens: int
    listed: int
    blocks: int
    work: int
    singles: int  # of the work, those that compute one token; they come first
    computed: int  # tokens of all work together
    greedy: int
    plain: int
    floored: int  # rows with min-p alone
    limited: int  # rows with top-k, perhaps with more
    nucleus: int  # rows with top-p but not top-k
    penalised: int
    steered: int  # rows with biases, allowed or banned ids, or below min_tokens
    most_k: int  # the largest top-k
    scored: int  # rows whose draw is told with its logprob
    probed: int  # tokens of prompts that are told with theirs
    most_scores: int  # ids told beside each of both: as many as any wants, or a few more

    @property
    def sampled(self) -> int:
        return self.greedy + self.plain + self.floored + self.limited + self.nucleus

    @property
    def scores_end(self) -> int:
        """Of the numbers that come down; behind it are the scores of prompts."""
        return self.sampled + self.scored * numbers_of(self.most_scores)

    @property
    def results(self) -> int:
        """Numbers that come down: drawn ids, and the scores of some behind them (`score_layout.py`)."""
        return self.sampled + (self.scored + self.probed) * numbers_of(self.most_scores)


class Parts(NamedTuple):
    """Views into a block, of numpy on the host or of torch on the device. All are flat."""

    added: Any  # [added * len(Column)]
    tokens: Any
    lists: Any
    block_at: Any  # row * width of the block tables + index in the row
    block_ids: Any
    rows: Any
    starts: Any
    counts: Any
    sampled: Any  # indices into the work
    penalised: Any  # indices into the sampled
    steered: Any
    scored: Any
    probed: Any  # indices into the computed tokens
    targets: Any  # the tokens that follow them
    masked: Any  # indices into the sampled: rows whose draw waits for a mask; whatever is left of the block


@dataclass(frozen=True, slots=True)
class Packed:
    buffer: Ints
    header: Header
    order: tuple[int, ...]  # the k-th drawn id belongs to the order[k]-th sampling work of the plan
    masked: int = 0  # rows whose draw waits for a mask
    wanted: tuple[int, ...] = ()  # of each scored row, how many ids it wants beside its own
    probed: Probed = NOT_PROBED
    constrained: StepPlan | None = None  # the plan, if it is the first or a row with a grammar comes, draws or goes

    @classmethod
    def of(cls, buffer: Ints) -> "Packed":
        """A block as another rank gets it; the order of the plan is none of its business."""
        header = Header(*buffer[: len(Header._fields)].tolist())
        return cls(buffer, header, (), masked=len(carve(buffer, header).masked))

    @property
    def decodes(self) -> bool:
        """Every row computes one token and draws the next."""
        return self.header.singles == self.header.work == self.header.sampled

    def in_plan_order(self, results: list[int]) -> TokenIds:
        """The drawn ids."""
        tokens = [0] * self.header.sampled
        for index, token in zip(self.order, results[: self.header.sampled], strict=True):
            tokens[index] = token
        return tuple(tokens)

    def scores(self, results: list[int]) -> tuple[tuple[int, Score], ...]:
        """(index of a drawn id in the order of the plan, its score)."""
        header = self.header
        if not header.scored:
            return ()
        scored = [self.order[at] for at in carve(self.buffer, header).scored.tolist()]
        scores = read(results[header.sampled : header.scores_end], self.wanted, header.most_scores)
        return tuple(zip(scored, scores, strict=True))

    def prompt_scores(self, results: list[int]) -> tuple[tuple[int, tuple[Score, ...]], ...]:
        """(row, scores of the next tokens of its prompt)."""
        header, probed = self.header, self.probed
        if not header.probed:
            return ()
        scores = iter(read(results[header.scores_end :], probed.wanted, header.most_scores))
        return tuple((row, tuple(islice(scores, count))) for row, count, _ in probed.rows)


def carve(buffer: Any, header: Header) -> Parts:
    """The parts of a block; `buffer` is anything that can be sliced."""
    h, first, parts = header, len(header), []
    sizes = (h.added * len(Column), h.tokens, h.listed, h.blocks, h.blocks, h.work, h.work, h.work)
    for size in (*sizes, h.sampled, h.penalised, h.steered, h.scored, h.probed, h.probed):
        parts.append(buffer[first : first + size])
        first += size
    parts.append(buffer[first:])
    return Parts(*parts)


class _Kind(NamedTuple):
    """What the host remembers of a row: how its tokens are drawn."""

    group: int  # 0 greedy, 1 plain, 2 floored, 3 limited, 4 nucleus
    penalised: bool
    free_from: int  # the position from which on stop ids may be drawn
    steered: bool  # from there on, too
    top_k: int
    masked: bool
    scores: int  # ids told beside the drawn one; -1: nothing is told


class Packer:
    """Knows of each row only how it samples. One call for each plan, in their order."""

    def __init__(self, table_width: int, vocab_size: int) -> None:
        self._width = table_width
        self._vocab = vocab_size
        self._kinds: dict[int, _Kind] = {}
        self._probes = Probes()

    def pack(self, plan: StepPlan) -> Packed:
        gone = [kind for row in plan.removed if (kind := self._kinds.pop(row, None))]
        listed = [Listed.of(add.sampling, self._vocab) for add in plan.added]
        for add, its in zip(plan.added, listed, strict=True):
            self._kinds[add.row] = self._kind(add, its)
        work = sorted(plan.work, key=_work_order)
        samples = sorted(self._samples(plan.work, work))
        kinds = [self._kinds[work[at].row] for _, _, at in samples]
        ends = [work[at].start + work[at].count for _, _, at in samples]
        groups = [group for group, _, _ in samples]
        penalised = [index for index, kind in enumerate(kinds) if kind.penalised]
        steered = [index for index, kind in enumerate(kinds) if kind.steered or ends[index] < kind.free_from]
        masked = [index for index, kind in enumerate(kinds) if kind.masked]
        scored = [index for index, kind in enumerate(kinds) if kind.scores >= 0]
        wanted, probed = tuple(kinds[index].scores for index in scored), self._probes.of(plan, work)
        places, ids = self._blocks(plan)
        header = Header(
            step=plan.step,
            added=len(plan.added),
            tokens=sum(len(add.tokens) for add in plan.added),
            listed=sum(len(its.numbers) for its in listed),
            blocks=len(ids),
            work=len(work),
            singles=sum(w.count == 1 for w in work),
            computed=plan.num_tokens,
            greedy=groups.count(0),
            plain=groups.count(1),
            floored=groups.count(2),
            limited=groups.count(3),
            nucleus=groups.count(4),
            penalised=len(penalised),
            steered=len(steered),
            most_k=max((kind.top_k for kind in kinds if kind.group == 3), default=0),
            scored=len(scored),
            probed=len(probed.targets),
            most_scores=size_for((*wanted, *(row[2] for row in probed.rows)), self._vocab),
        )
        parts: list[Any] = [header]
        for add, its in zip(plan.added, listed, strict=True):
            parts.append(columns_of(add, its, self._kinds[add.row].free_from))
        parts += [add.tokens for add in plan.added]
        parts += [its.numbers for its in listed]
        parts += [places, ids, *zip(*((w.row, w.start, w.count) for w in work), strict=True)]
        parts += [[at for _, _, at in samples], penalised, steered, scored]
        parts += [probed.positions, probed.targets, masked]
        buffer = np.concatenate([np.asarray(part, dtype=np.int32) for part in parts])
        touched = (
            not plan.step
            or masked
            or any(kind.masked for kind in gone)
            or any(add.sampling.grammar for add in plan.added)
        )
        order = tuple(index for _, index, _ in samples)
        return Packed(buffer, header, order, len(masked), wanted, probed, plan if touched else None)

    def _samples(self, plan_work: tuple[RowWork, ...], work: list[RowWork]) -> Iterator[tuple[int, int, int]]:
        """(group, index among the sampling work of the plan, index in `work`) of each row that samples."""
        place = {w.row: at for at, w in enumerate(work)}
        for index, w in enumerate(w for w in plan_work if w.samples):
            yield self._kinds[w.row].group, index, place[w.row]

    def _blocks(self, plan: StepPlan) -> tuple[list[int], list[int]]:
        places: list[int] = []
        ids: list[int] = []
        for row, start, blocks in (
            *((add.row, 0, add.blocks) for add in plan.added),
            *((more.row, more.start, more.blocks) for more in plan.appended),
        ):
            first = row * self._width + start
            places.extend(range(first, first + len(blocks)))
            ids.extend(blocks)
        return places, ids

    def _kind(self, add: RowAdd, listed: Listed) -> _Kind:
        s = add.sampling
        group = 2 if s.min_p > 0 else 1
        if is_greedy(s):
            group = 0
        elif 0 < s.top_k < self._vocab:
            group = 3
        elif s.top_p < 1:
            group = 4
        free_from = add.prompt_len + s.min_tokens if s.stop_ids else 0
        return _Kind(group, s.penalised, free_from, listed.always, s.top_k, bool(s.grammar), s.logprobs)


def is_greedy(sampling: SamplingParams) -> bool:
    """Temperatures this low leave one candidate and overflow float32."""
    return sampling.temperature < 1e-5


def _work_order(work: RowWork) -> tuple[bool, int]:
    return work.count > 1, work.start
