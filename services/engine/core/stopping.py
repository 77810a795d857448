"""Where a request must end, whether it has, and whether it could ever run here."""

import math

from services.engine.core.config import SchedulerConfig
from services.engine.core.events import Submit
from shared.types import FinishReason, SamplingParams

LARGEST_ID = 2**31 - 1  # token ids are int32 on the device and in the block digests


def length_limit(prompt_len: int, sampling: SamplingParams, max_model_len: int) -> int:
    """How many tokens, prompt and output together, the request has when it ends by length."""
    return min(prompt_len + sampling.max_tokens, max_model_len)


def refusal(event: Submit, config: SchedulerConfig) -> str:
    """Why this request can never run here, in words for the client; "" if it can."""
    prompt_len, most = len(event.prompt), event.sampling.max_tokens
    known = event.prompt + event.output
    if not event.prompt:
        return "the prompt is empty"
    if most < 1:
        return f"max_tokens must be at least 1, not {most}"
    if prompt_len > config.max_model_len - 1:
        return f"the prompt has {prompt_len} tokens; at most {config.max_model_len - 1} fit this model's context"
    if min(known) < 0 or max(known) > LARGEST_ID:
        return f"token ids must lie between 0 and {LARGEST_ID}"
    if not math.isfinite(event.arrival) or abs(event.priority) > LARGEST_ID:
        return "arrival must be finite, and priority must fit 32 bits"
    # The last token drawn is never computed, so it needs no place in the cache.
    needed = config.blocks_for(length_limit(prompt_len, event.sampling, config.max_model_len) - 1)
    if needed > config.num_blocks:
        return (
            f"a prompt of {prompt_len} tokens with max_tokens {most} needs {needed} cache blocks of "
            f"{config.block_size} tokens; this engine has {config.num_blocks}"
        )
    return ""


def finish_of(sampling: SamplingParams, token: int, index: int, at_limit: bool) -> FinishReason | None:
    """Does output token number `index` (from 0) end its request, and why. A stop id wins over the length."""
    if sampling.stop_ids and sampling.stops_at(token, index):
        return FinishReason.STOP
    return FinishReason.LENGTH if at_limit else None


def finished_before(event: Submit, limit: int) -> FinishReason | None:
    """Had a request that moves here with some output ended already (its engine died before it could say so)?"""
    if not event.output:
        return None
    at_limit = len(event.prompt) + len(event.output) >= limit
    return finish_of(event.sampling, event.output[-1], len(event.output) - 1, at_limit)
