"""One request's progress.

    tokens     |<------ prompt ------>|<-- output, committed -->|
    computed   |<--------- planned so far -------->|
    known      |<------------- tokens, and those being drawn in flight --------------->|

Prefill and decode are the same thing: a step computes some of [computed, known); one that reaches `known` draws a token
and so moves `known` on by one, though its value lies on the device only until the step commits.
"""

from enum import Enum
from typing import TYPE_CHECKING

from services.engine.core.events import Submit
from services.engine.core.prefix import Chain
from shared.types import Score

if TYPE_CHECKING:
    from services.engine.core.fairness import Account

BATCH_LEVELS = 10  # of priority that the batch lane lies behind, when somebody must be preempted
NEVER = 2**63  # a position no request reaches
Rank = tuple[float, int]  # the lower runs first, and is preempted last


class Phase(Enum):
    WAITING = "waiting"  # in the queue; holds nothing
    RUNNING = "running"  # has a row and blocks
    ENDING = "ending"  # its last step by length is launched: row given up, blocks held by that step
    PARKED = "parked"  # preempted while in flight: the same, but goes back to the queue when its last step commits
    ENDED = "ended"


class Request:
    """Mutable; owned by the scheduler alone."""

    __slots__ = (
        "account",
        "arrival",
        "began",
        "blocks",
        "capacity",
        "chain",
        "computed",
        "deadline",
        "epoch",
        "id",
        "in_flight",
        "known",
        "lane",
        "last_step",
        "limit",
        "parent_id",
        "phase",
        "prompt_len",
        "prompt_scores",
        "rank",
        "row",
        "sampling",
        "seal_at",
        "sealed",
        "tenant",
        "tokens",
    )
    account: "Account"  # of its tenant, from its first `push` into the queue on

    def __init__(self, event: Submit, epoch: int, limit: int, aging_s: float, block_size: int) -> None:
        self.id = event.id
        self.parent_id = event.parent_id
        self.sampling = event.sampling
        self.arrival = event.arrival
        self.deadline = event.deadline
        self.lane = event.lane
        self.tenant = event.tenant
        self.prompt_len = len(event.prompt)
        self.limit = limit  # tokens, at which it ends by length
        self.epoch = epoch  # of this submission: an id may come back after its request has ended
        # Linear aging: a level of priority is a head start of so many seconds, so the order never changes with time.
        level = event.priority + (BATCH_LEVELS if event.lane == "batch" else 0)
        self.rank: Rank = (event.arrival + level * aging_s, epoch)
        self.tokens = [*event.prompt, *event.output]  # the values known here; only appended to
        self.known = len(self.tokens)
        self.in_flight = 0  # steps launched and not yet committed
        self.last_step = 0  # number of the last launched one
        self.began = False
        self.chain = Chain(event.cache_salt, block_size)
        self.rest()

    def rest(self) -> None:
        """Back to the queue, or new in it: computed work is gone, known tokens are not."""
        self.phase = Phase.WAITING
        self.row = -1
        self.computed = 0  # tokens
        self.blocks: list[int] = []
        self.capacity = 0  # tokens that fit `blocks`
        self.sealed = 0  # full blocks whose text the index was told
        self.seal_at = NEVER  # tokens committed, at which the next block is full
        self.prompt_scores: list[Score] = []  # until the first token is told

    @property
    def offset(self) -> int:
        """Length of the output that was committed."""
        return len(self.tokens) - self.prompt_len

    def tell_prompt(self) -> tuple[Score, ...]:
        """How likely its prompt was, once."""
        if not self.prompt_scores:
            return ()
        told, self.prompt_scores = tuple(self.prompt_scores), []
        return told

    @property
    def probed(self) -> bool:
        """Is its prompt to be told with scores? Then all of it must be computed."""
        return self.sampling.prompt_logprobs >= 0 and not self.offset

    def check(self) -> None:
        assert len(self.tokens) <= self.known <= self.limit, f"{self.id}: {len(self.tokens)} {self.known} {self.limit}"
        assert self.known - len(self.tokens) <= self.in_flight, f"{self.id}: a drawn token is in no step"
        if self.phase is Phase.RUNNING:
            assert self.computed <= self.capacity, f"{self.id}: computed beyond its blocks"
            assert self.computed < self.known < self.limit, f"{self.id}: runs with nothing to run"
        if self.phase is Phase.WAITING:
            assert not self.in_flight and not self.blocks, f"{self.id}: waits and holds"
            assert self.known == len(self.tokens), f"{self.id}: waits for a token that nobody draws"
