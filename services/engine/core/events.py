"""What the scheduler is told, and what it tells. Frozen values."""

from dataclasses import dataclass

from shared.types import FinishReason, RequestId, SamplingParams, TokenIds


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Run this request from offset `len(output)` on: `prompt` and `output` are known and are prefilled together."""

    id: RequestId
    parent_id: str
    prompt: TokenIds
    sampling: SamplingParams
    output: TokenIds = ()
    priority: int = 0  # lower runs first
    arrival: float = 0.0  # seconds, the caller's clock; orders requests of one priority
    cache_salt: str = ""  # prefix blocks are shared only between equal salts


@dataclass(frozen=True, slots=True)
class Abort:
    """End a request (its id) or every choice of a parent (the parent's id); unknown ids are ignored."""

    id: str
    reason: FinishReason = FinishReason.CANCEL


Event = Submit | Abort


@dataclass(frozen=True, slots=True)
class Delta:
    """What became known of one request: new ids from `offset` on, and perhaps its end."""

    id: RequestId
    offset: int
    ids: TokenIds
    finish: FinishReason | None = None
    detail: str = ""  # for FinishReason.ERROR: what to tell the client
