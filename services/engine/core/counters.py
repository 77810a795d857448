"""What the scheduler has done since it began. Grows only."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    steps: int = 0
    tokens_planned: int = 0  # computed by the steps launched
    tokens_committed: int = 0  # drawn and told
    dropped_late: int = 0  # drawn for a request that had ended by then
    admitted: int = 0  # counts a request again after each preemption
    queued_s: float = 0.0  # from arrival to first admission, over all requests
    departed: int = 0  # from the queue for the first time: admitted, or ended while they waited
    preemptions: int = 0
    finished: int = 0  # by a stop id or by length
    aborted: int = 0
    expired: int = 0  # by their deadline
    refused: int = 0
    prefix_queries: int = 0  # tokens looked up in the prefix index
    prefix_hits: int = 0  # tokens found there and not computed again
