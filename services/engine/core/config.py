"""What the scheduler may use, fixed at start."""

import math
from dataclasses import dataclass

from shared.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    num_blocks: int  # of the paged KV cache; their ids are 0 .. num_blocks - 1
    block_size: int = 16  # tokens
    max_num_seqs: int = 256  # rows of the worker
    max_batched_tokens: int = 2048  # computed by one step
    max_model_len: int = 4096  # tokens, prompt and output together
    max_in_flight: int = 2  # steps launched and not yet committed
    aging_s: float = 30.0  # one level of priority is worth this much waiting
    prefix_caching: bool = True
    stateless: bool = False  # send every scheduled row whole in every step, for comparison

    def __post_init__(self) -> None:
        for name in ("num_blocks", "block_size", "max_num_seqs", "max_batched_tokens", "max_in_flight"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.max_model_len < 2:
            raise ConfigError(f"max_model_len must be at least 2, not {self.max_model_len}")
        # So each running request can decode in each step, and the first of those that prefill gets a token beside them.
        if self.max_batched_tokens < self.max_num_seqs:
            raise ConfigError(
                f"max_batched_tokens ({self.max_batched_tokens}) must be at least max_num_seqs ({self.max_num_seqs})"
            )
        if not (self.aging_s >= 0 and math.isfinite(self.aging_s)):
            raise ConfigError(f"aging_s must be finite and not negative, not {self.aging_s}")

    def blocks_for(self, tokens: int) -> int:
        """How many blocks hold this many tokens."""
        return -(-tokens // self.block_size)
