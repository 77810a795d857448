"""The scores of drawn ids on their way down: numbers behind the ids, in the one copy that brings these.

    drawn ids [sampled] | of each scored row: logprob, rank, ids [K], logprobs [K] | of each probed position the same

K is what the row that wants most wants, or a little more; logprobs travel by the bits of their float32.
"""

import math
from collections.abc import Sequence

import numpy as np

from shared.types import LEAST_LOGPROB, MAX_TOP_LOGPROBS, Score

SIZES = (0, 5, MAX_TOP_LOGPROBS)  # of K: few, as kernels are compiled for each


def numbers_of(k: int) -> int:
    """How many numbers tell one score."""
    return 2 + 2 * k


def size_for(wanted: Sequence[int], vocab_size: int) -> int:
    """K of a step whose rows want so many ids."""
    most = max(wanted, default=0)
    return min(next(size for size in SIZES if size >= most), vocab_size)


def read(numbers: Sequence[int], wanted: Sequence[int], k: int) -> list[Score]:
    """What `scores.write` wrote, each row's as far as it is wanted."""
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
