"""What the scheduler is told, and what it tells. Frozen values."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from shared.types import FinishReason, Lane, RequestId, SamplingParams, Score, TokenIds


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Run this request from offset `len(output)` on: `prompt` and `output` are known and are prefilled together."""

    id: RequestId
    parent_id: str
    prompt: TokenIds
    sampling: SamplingParams
    output: TokenIds = ()
    lane: Lane = "interactive"  # goes before "batch"
    tenant: str = ""  # between tenants turns are fair, whatever the number of their requests
    priority: int = 0  # lower runs first, among those of a lane and tenant
    arrival: float = 0.0  # seconds, the caller's clock; orders requests of one priority
    deadline: float = math.inf  # seconds, the same clock: it ends then with TIMEOUT, wherever it is
    cache_salt: str = ""  # prefix blocks are shared only between equal salts


@dataclass(frozen=True, slots=True)
class Abort:
    """End a request (its id) or every choice of a parent (the parent's id); unknown ids are ignored."""

    id: str
    reason: FinishReason = FinishReason.CANCEL


Event = Submit | Abort


class Delta(NamedTuple):
    """What became known of one request: new ids from `offset` on, and perhaps its end."""

    id: RequestId
    offset: int
    ids: TokenIds
    finish: FinishReason | None = None
    detail: str = ""  # for FinishReason.ERROR: what to tell the client
    scores: tuple[Score, ...] = ()  # one for each id, or none
    prompt_scores: tuple[Score, ...] = ()  # with the first id: of each token of the prompt but the first, or none
