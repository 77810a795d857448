"""The scores of drawn ids on their way down: numbers behind the ids, in the one copy that brings these.

    drawn ids [sampled] | of each scored row: logprob, rank, ids [K], logprobs [K] | of each probed position the same

K is what the row that wants most wants, or a little more; logprobs travel by the bits of their float32. They are those
of the model's own logits, before anything steers or shapes the draw.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from services.engine.worker.models.decoder import Decoder
from shared.types import LEAST_LOGPROB, MAX_TOP_LOGPROBS, Score

Measured = tuple[Tensor, Tensor, Tensor, Tensor]  # chosen [N] fp32, ranks [N] int32, ids [N, K] int32, best [N, K] fp32
Measure = Callable[[Tensor, Tensor, int], Measured]  # as kernels/logprobs


def numbers_of(k: int) -> int:
    """How many numbers tell one score."""
    return 2 + 2 * k


SIZES = (0, 5, MAX_TOP_LOGPROBS)  # of K: few, as kernels are compiled for each
AT_ONCE = 64  # rows of logits that are made for prompts at a time


def size_for(wanted: Sequence[int], vocab_size: int) -> int:
    """K of a step whose rows want so many ids."""
    most = max(wanted, default=0)
    return min(next(size for size in SIZES if size >= most), vocab_size)


def write(logits: Tensor, drawn: Tensor, k: int, out: Tensor, measure: Measure) -> None:
    """Of logits [N, V] float32 and drawn ids [N] int32; `out` [N * numbers_of(k)] int32 is where the numbers go."""
    chosen, ranks, ids, best = measure(logits, drawn, k)
    rows = out.view(-1, numbers_of(k))
    rows[:, 0] = chosen.view(torch.int32)
    rows[:, 1] = ranks
    rows[:, 2 : 2 + k] = ids
    rows[:, 2 + k :] = best.contiguous().view(torch.int32)


def write_prompts(model: Decoder, hidden: Tensor, targets: Tensor, k: int, out: Tensor, measure: Measure) -> None:
    """Of hidden states [N, H] and the tokens [N] that follow them, whatever the size of the vocabulary."""
    size = numbers_of(k)
    for first in range(0, len(targets), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        write(model.logits(hidden[part]), targets[part], k, out[size * first : size * (first + AT_ONCE)], measure)


def read(numbers: Sequence[int], wanted: Sequence[int], k: int) -> list[Score]:
    """What `write` wrote, each row's as far as it is wanted."""
    rows = np.array(numbers, dtype=np.int32).reshape(-1, numbers_of(k))
    floats = rows.view(np.float32)
    return [
        Score(
            _finite(float(f[0])),
            int(row[1]),
            tuple(row[2 : 2 + own].tolist()),
            tuple(_finite(x) for x in f[2 + k : 2 + k + own].tolist()),
        )
        for row, f, own in zip(rows, floats, wanted, strict=True)
    ]


def _finite(logprob: float) -> float:
    """Six digits are more than float32 sums are good for, and short on the bus."""
    return round(logprob, 6) if math.isfinite(logprob) and logprob > LEAST_LOGPROB else LEAST_LOGPROB
