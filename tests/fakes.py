"""A worker without a device, for whoever tests what comes before it.

It believes nothing but the plans. Each block holds, slot by slot, what a model would have written there: a value that
depends on the token, its position and all that came before, read through the block table. A token is a function of
every slot the table leads to. So a block shared wrongly, reused early or missing from a table gives other tokens than
`continuation`, which computes the same function without blocks, or an AssertionError.
"""

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from services.engine.core.step import RowAdd, StepPlan, StepResult
from shared.types import FinishReason, SamplingParams, TokenIds


def _slot(before: int, token: int, position: int) -> int:
    return hash((before, token, position))


def _draw(slots: Sequence[int], sampling: SamplingParams, vocab_size: int) -> int:
    """The token after these slots; like a sampler's, a function of logits, seed and position."""
    return hash((tuple(slots), sampling.seed, len(slots))) % vocab_size


def continuation(
    prompt: TokenIds, sampling: SamplingParams, vocab_size: int, max_model_len: int
) -> tuple[TokenIds, FinishReason]:
    """What a request must yield when it runs alone: all of its output, and why it ends."""
    tokens, slots, before = list(prompt), list[int](), 0
    while True:
        for position in range(len(slots), len(tokens)):
            before = _slot(before, tokens[position], position)
            slots.append(before)
        token = _draw(slots, sampling, vocab_size)
        tokens.append(token)
        index = len(tokens) - len(prompt) - 1
        if sampling.stops_at(token, index):
            return tuple(tokens[len(prompt) :]), FinishReason.STOP
        if index + 1 == sampling.max_tokens or len(tokens) == max_model_len:
            return tuple(tokens[len(prompt) :]), FinishReason.LENGTH


@dataclass(eq=False, slots=True)
class _Row:
    """One request's stay in a row."""

    sampling: SamplingParams
    tokens: dict[int, int] = field(default_factory=dict)  # by position
    blocks: list[int] = field(default_factory=list)


class _Guard:
    """The Lifetime promise, watched at submission: what a step in flight uses is nobody else's yet."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._tables: dict[int, tuple[object, list[int]]] = {}  # of each row: whose stay, and its blocks
        self._uses: deque[tuple[dict[int, object], dict[int, object]]] = deque()  # of each step: reads, writes

    def submitted(self, plan: StepPlan) -> None:
        self._patch(plan)
        reads: dict[int, object] = {}
        writes: dict[int, object] = {}
        for work in plan.work:
            stay, table = self._tables[work.row]
            first, last = work.start // self._block_size, (work.start + work.count - 1) // self._block_size
            assert last < len(table), f"row {work.row} computes beyond its {len(table)} blocks"
            reads.update(dict.fromkeys(table[:first], stay))
            for block in table[first : last + 1]:
                assert writes.setdefault(block, stay) is stay, f"block {block} is written by two rows of one step"
        assert not writes.keys() & reads.keys(), "a block is written and shared in one step"
        for read, written in self._uses:
            for block, stay in writes.items():
                assert read.get(block, stay) is stay, f"block {block} is reused while a step in flight reads it"
            for block, stay in (writes | reads).items():
                assert written.get(block, stay) is stay, f"block {block} is reused while a step in flight writes it"
        self._uses.append((reads, writes))

    def _patch(self, plan: StepPlan) -> None:
        for row in plan.removed:
            del self._tables[row]
        for add in plan.added:
            stay = self._tables[add.row][0] if add.row in self._tables else object()
            self._tables[add.row] = stay, list(add.blocks)
        for more in plan.appended:
            self._tables[more.row][1].extend(more.blocks)

    def ended(self) -> None:
        self._uses.popleft()


class Pending:
    """A submitted step. It runs when its result is asked for, and not a moment earlier."""

    def __init__(self, worker: "FakeWorker", plan: StepPlan) -> None:
        self._worker = worker
        self._plan = plan

    def result(self) -> StepResult:
        return self._worker.run_until(self._plan.step)

    def __await__(self) -> Generator[None, None, StepResult]:
        yield
        return self.result()


class FakeWorker:
    """The Worker port. AssertionError if a plan asks for what a device could not give, or could give wrongly."""

    def __init__(self, num_blocks: int, block_size: int, vocab_size: int, *, stateless: bool = False) -> None:
        self._vocab_size = vocab_size
        self._block_size = block_size
        self._stateless = stateless
        self._memory: list[list[int | None]] = [[None] * block_size for _ in range(num_blocks)]
        self._rows: dict[int, _Row] = {}
        self._submitted: deque[StepPlan] = deque()
        self._results: dict[int, StepResult] = {}
        self._guard = _Guard(block_size)
        self._next_step: int | None = None

    def submit(self, plan: StepPlan) -> Pending:
        assert plan.work, f"step {plan.step} has no work"
        assert all(work.count > 0 for work in plan.work), f"step {plan.step} has rows without work"
        assert self._next_step in (None, plan.step), f"step {plan.step} comes where {self._next_step} is due"
        assert len({work.row for work in plan.work}) == len(plan.work), "a row works twice in one step"
        self._next_step = plan.step + 1
        self._guard.submitted(plan)
        self._submitted.append(plan)
        return Pending(self, plan)

    def run_until(self, step: int) -> StepResult:
        while step not in self._results:
            plan = self._submitted.popleft()
            self._results[plan.step] = self._run(plan)
            self._guard.ended()
        return self._results.pop(step)

    async def prepare(self, grammar: str) -> str:
        return ""

    def statistics(self) -> dict[str, float]:
        return {"rows": len(self._rows), "submitted": len(self._submitted)}

    def _run(self, plan: StepPlan) -> StepResult:
        for gone in plan.removed:
            del self._rows[gone]
        for add in plan.added:
            self._add(add)
        for more in plan.appended:
            blocks = self._rows[more.row].blocks
            assert len(blocks) == more.start, f"row {more.row} has {len(blocks)} blocks, not {more.start}"
            blocks.extend(more.blocks)
        drawn: list[int] = []
        for work in plan.work:
            row = self._rows[work.row]
            slots = self._compute(row, work.start, work.start + work.count)
            if work.samples:
                token = _draw(slots, row.sampling, self._vocab_size)
                assert work.start + work.count not in row.tokens, f"row {work.row} draws a token that it has"
                row.tokens[work.start + work.count] = token
                drawn.append(token)
            else:
                assert work.start + work.count in row.tokens, f"row {work.row} stops short of nothing"
        return StepResult(plan.step, tuple(drawn))

    def _add(self, add: RowAdd) -> None:
        """A row sent again keeps the tokens that were drawn since and are known here only."""
        if add.row not in self._rows or not self._stateless:
            assert add.row not in self._rows, f"row {add.row} is added twice"
            self._rows[add.row] = _Row(add.sampling)
        row = self._rows[add.row]
        for position, token in enumerate(add.tokens):
            assert row.tokens.setdefault(position, token) == token, f"row {add.row} is sent again with other tokens"
        row.blocks = list(add.blocks)

    def _compute(self, row: _Row, start: int, end: int) -> list[int]:
        """Write the slots of [start, end), then read all of [0, end) through the table."""
        size = self._block_size
        slots: list[int] = []
        for position in range(end):
            block, place = self._memory[row.blocks[position // size]], position % size
            if position >= start:
                if place == 0:
                    block[:] = [None] * size  # what the last owner left is nobody's text
                block[place] = _slot(slots[-1] if slots else 0, row.tokens[position], position)
            slot = block[place]
            assert slot is not None, f"position {position} is read before anybody wrote it"
            slots.append(slot)
        return slots
