"""One forward pass as the worker sees it: a difference to the state it already holds, and what came of it.

The worker owns rows. A row keeps the token ids, the block table and the sampling parameters of one request, from
`RowAdd` to `removed`. A plan is applied in the order: removed, added, appended, work. Everything in it is decided when
it is made; nobody reads the scheduler's live state through it.
"""

from dataclasses import dataclass

from shared.types import RequestId, SamplingParams, Score, TokenIds


@dataclass(frozen=True, slots=True)
class RowAdd:
    """Row `row` now holds a request: its known token ids, prompt first, and the blocks given to it so far."""

    row: int
    tokens: TokenIds
    prompt_len: int  # tokens[:prompt_len] is the prompt; penalties look at both, presence and frequency at the rest
    blocks: tuple[int, ...]
    sampling: SamplingParams


@dataclass(frozen=True, slots=True)
class RowBlocks:
    """The block table of row `row` gets `blocks` from index `start` on."""

    row: int
    start: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowWork:
    """Compute positions [start, start + count) of row `row`.

    If `samples`, the token at position start + count is drawn from the last position's logits and written to the row,
    where the next step reads it: its value need not be known to plan that step. Position start + count in the sequence
    is also the position in (seed, position).
    """

    row: int
    start: int
    count: int
    samples: bool


@dataclass(frozen=True, slots=True)
class Seated:
    """Who was given a row in this step, and how much of it was computed before; for people, not for the worker."""

    id: RequestId
    row: int
    known: int  # tokens, prompt and output so far
    cached: int  # of these, found in the prefix index


@dataclass(frozen=True, slots=True)
class StepPlan:
    step: int  # counts up by one
    removed: tuple[int, ...]
    added: tuple[RowAdd, ...]
    appended: tuple[RowBlocks, ...]
    work: tuple[RowWork, ...]
    began: tuple[RequestId, ...] = ()  # requests whose first step on this engine this is; for the outbox
    chunks: int = 0  # of the work, the last so many are chunks of prefills; those before decode
    seated: tuple[Seated, ...] = ()
    preempted: tuple[RequestId, ...] = ()  # who lost row and blocks to others when this was planned

    @property
    def num_tokens(self) -> int:
        return sum(w.count for w in self.work)


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a step cost on its way to the device."""

    pack_ns: int = 0  # the plan was made one block
    launched_ns: int = 0  # when somebody began to enqueue it, as the moments of StepResult
    launch_ns: int = 0  # how long that took
    bytes: int = 0  # that went up
    graph: bool = False  # it was replayed as it had been captured


NO_COST = StepCost()


@dataclass(frozen=True, slots=True)
class StepResult:
    """The drawn ids, one for each `RowWork` that samples, in the order of the plan."""

    step: int
    tokens: TokenIds
    faults: tuple[tuple[int, str], ...] = ()  # (index of a drawn id, why it does not count): its request ends there
    scores: tuple[tuple[int, Score], ...] = ()  # (index of a drawn id, how likely it was), of those that want to know
    prompt_scores: tuple[tuple[int, tuple[Score, ...]], ...] = ()  # (row, those of the next tokens of its prompt)
    begun_ns: int = 0  # when the device began it and ended it, on this machine's monotonic clock; 0: not known
    ended_ns: int = 0
    cost: StepCost = NO_COST
