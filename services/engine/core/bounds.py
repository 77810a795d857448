"""Which sampling parameters an engine takes. The gateway has looked before, but the bus is open."""

import math
from collections.abc import Iterable

from shared.types import (
    MAX_ALLOWED_IDS,
    MAX_BANNED,
    MAX_BANNED_IDS,
    MAX_LOGIT_BIAS,
    MAX_STOP_IDS,
    SamplingParams,
)


def refusal(sampling: SamplingParams, vocab_size: int) -> str:
    """Why these cannot be used, in words for the client; "" if they can."""
    s = sampling
    if len(s.stop_ids) > MAX_STOP_IDS:
        return f"stop_token_ids: at most {MAX_STOP_IDS} are supported, those of the model among them"
    if len(s.bias_ids) != len(s.biases) or len(s.biases) > MAX_LOGIT_BIAS or not all(map(math.isfinite, s.biases)):
        return f"logit_bias: at most {MAX_LOGIT_BIAS} ids can have one, each a finite number"
    if len(s.allowed_ids) > MAX_ALLOWED_IDS:
        return f"allowed_token_ids: at most {MAX_ALLOWED_IDS} are supported"
    if len(s.banned) > MAX_BANNED or not all(s.banned) or sum(map(len, s.banned)) > MAX_BANNED_IDS:
        return f"bad_words: at most {MAX_BANNED} sequences of {MAX_BANNED_IDS} ids in all are supported, none empty"
    for name, ids in (("logit_bias", s.bias_ids), ("allowed_token_ids", s.allowed_ids), ("bad_words", _all(s.banned))):
        if ids and max(ids) >= vocab_size:
            return f"{name}: token ids must lie below {vocab_size}"
    return ""


def _all(sequences: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(id for ids in sequences for id in ids)
