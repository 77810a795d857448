"""What is sent of an added row and kept on the device while it lives: its columns, and the list that steers its draws.

The list holds ids and numbers one after the other, as `kernels/steer` reads them; the columns say how many of each.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from services.engine.core.step import RowAdd
from shared.types import SamplingParams

Ints = npt.NDArray[np.int32]


class Column(IntEnum):
    ROW = 0
    LENGTH = 1  # tokens sent
    LISTED = 2  # numbers of the list sent
    PROMPT_LEN = 3
    FREE_FROM = 4  # the position from which on stop ids may be drawn
    STOPS = 5  # of the list: stop ids; none unless min_tokens forbids them for a while
    BIASES = 6  # ids with a bias
    ALLOWED = 7
    BANNED = 8  # sequences
    SEED_LOW = 9
    SEED_HIGH = 10
    TOP_K = 11
    TEMPERATURE = 12  # from here on float32
    TOP_P = 13  # infinite where off
    MIN_P = 14
    PRESENCE = 15
    FREQUENCY = 16
    REPETITION = 17


@dataclass(frozen=True, slots=True)
class Listed:
    """The list of a row, and how many of each kind are in it."""

    numbers: Ints
    stops: int
    biases: int
    allowed: int
    banned: int

    @property
    def always(self) -> bool:
        """Does it change every draw, and not only those below min_tokens?"""
        return bool(self.biases or self.allowed or self.banned)

    @classmethod
    def of(cls, sampling: SamplingParams, vocab_size: int) -> "Listed":
        """Ids that the model cannot draw need not be steered."""
        stops = [id for id in sampling.stop_ids if 0 <= id < vocab_size] if sampling.min_tokens else []
        biased = {id: bias for id, bias in zip(sampling.bias_ids, sampling.biases, strict=True) if id < vocab_size}
        allowed = [id for id in sampling.allowed_ids if id < vocab_size]
        banned = [ids for ids in sampling.banned if max(ids) < vocab_size]
        before, starts = [id for ids in banned for id in ids[:-1]], [0]
        for ids in banned:
            starts.append(starts[-1] + len(ids) - 1)
        biases = np.array([*biased.values()], dtype=np.float32).view(np.int32)
        ints = ([*stops, *biased], biases, allowed, [ids[-1] for ids in banned], [len(ids) - 1 for ids in banned])
        parts = [np.asarray(part, dtype=np.int32) for part in (*ints, starts[:-1], before)]
        return cls(np.concatenate(parts), len(stops), len(biased), len(allowed), len(banned))


def columns_of(add: RowAdd, listed: Listed, free_from: int) -> Ints:
    """The columns of a row, floats by their bits."""
    s = add.sampling
    seed = np.array([s.seed % (1 << 64)], dtype=np.uint64).view(np.int32)
    top_p = s.top_p if s.top_p < 1 else math.inf
    floats = (s.temperature, top_p, s.min_p, s.presence_penalty, s.frequency_penalty, s.repetition_penalty)
    ints = (
        *(add.row, len(add.tokens), len(listed.numbers), add.prompt_len, free_from),
        *(listed.stops, listed.biases, listed.allowed, listed.banned),
        *seed.tolist(),
        min(s.top_k, 2**31 - 1),
    )
    return np.concatenate([np.array(ints, dtype=np.int32), np.array(floats, dtype=np.float32).view(np.int32)])
