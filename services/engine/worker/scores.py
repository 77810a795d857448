"""How likely drawn ids were: measured on the device, and written as `score_layout` has it.

Logprobs are those of the model's own logits, before anything steers or shapes the draw.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from services.engine.worker.models.decoder import Decoder
from services.engine.worker.score_layout import numbers_of

Measured = tuple[Tensor, Tensor, Tensor, Tensor]  # chosen [N] fp32, ranks [N] int32, ids [N, K] int32, best [N, K] fp32
Measure = Callable[[Tensor, Tensor, int], Measured]  # as kernels/logprobs

AT_ONCE = 64  # rows of logits that are made for prompts at a time


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
