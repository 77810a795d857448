"""How large things are, where the operator does not say."""

from dataclasses import dataclass

from services.engine.config import EngineConfig
from shared.errors import ConfigError

HOST, CARD = (64, 512), (256, 8192)  # rows, and tokens of a step


@dataclass(frozen=True, slots=True)
class Sizes:
    rows: int  # requests that run at once
    tokens: int  # computed in one step
    max_model_len: int  # before it is known what the KV cache holds: see `limits.context`
    block_size: int


def sizes(config: EngineConfig, allowed: int, *, on_card: bool) -> Sizes:
    """`allowed` is the longest sequence of the checkpoint. Raises ConfigError if more is asked for."""
    if config.max_model_len > allowed:
        raise ConfigError(f"--max-model-len {config.max_model_len} is more than the checkpoint allows: {allowed}")
    rows, tokens = CARD if on_card else HOST
    rows, tokens = config.max_num_seqs or rows, config.max_batched_tokens or tokens
    return Sizes(rows, max(tokens, rows), config.max_model_len or allowed, config.block_size)
