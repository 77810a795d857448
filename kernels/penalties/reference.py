"""The same by counting, row by row."""

import torch
from torch import Tensor


def penalise(
    logits: Tensor, tokens: Tensor, knobs: Tensor, rows: Tensor, ends: Tensor, prompts: Tensor, scratch: Tensor
) -> Tensor:
    """logits [S, V] changed in place, in the dtype given; `scratch` is not needed."""
    for x, row, end in zip(logits, rows.tolist(), ends.tolist(), strict=True):
        presence, frequency, repetition = knobs[row].view(torch.float32).tolist()
        prompt = min(int(prompts[row]), end)
        output = tokens[row, prompt:end].long().bincount(minlength=len(x))
        seen = (output + tokens[row, :prompt].long().bincount(minlength=len(x))) > 0
        x[seen] = x[seen].where(x[seen] <= 0, x[seen] / repetition).where(x[seen] > 0, x[seen] * repetition)
        x -= frequency * output + presence * (output > 0)
    return logits
