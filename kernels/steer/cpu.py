"""The same for a CPU: a few operators for each row that asks for something; the counts are read on the host."""

import math

import torch
from torch import Tensor


def steer(
    logits: Tensor, lists: Tensor, columns: Tensor, tokens: Tensor, rows: Tensor, ends: Tensor, which: Tensor
) -> None:
    """logits [S, V] float32, changed in place in the rows `which`; ids must lie within the vocabulary."""
    drawing, known = rows[which].long(), ends[which].tolist()
    for s, row, end in zip(which.tolist(), drawing.tolist(), known, strict=True):
        prompt, free_from, stops, biases, allowed, banned = columns[row].tolist()
        x, ids = logits[s], lists[row]
        bias_at, allowed_at = stops, stops + 2 * biases
        if allowed:
            only = ids[allowed_at : allowed_at + allowed].long()
            kept = x[only]
            x.fill_(-math.inf)
            x[only] = kept
        if biases:
            values = ids[bias_at + biases : allowed_at].view(torch.float32)
            x.index_add_(0, ids[bias_at : bias_at + biases], values)
        if banned:
            _ban(x, ids[allowed_at + allowed :], banned, tokens[row, prompt:end])
        if end < free_from:
            x.index_fill_(0, ids[:stops].long(), -math.inf)


def _ban(x: Tensor, bans: Tensor, count: int, output: Tensor) -> None:
    last, lengths, starts = bans[: 3 * count].view(3, count)
    longest, given = int(lengths.max()), bans[3 * count :]
    same = lengths <= len(output)
    for back in range(1, min(longest, len(output)) + 1):  # from the newest id on
        here = lengths >= back
        want = given[(starts + lengths - back).clamp_min(0)]
        same &= ~here | (want == output[-back])
    x.index_add_(0, last, torch.zeros(count).masked_fill_(same, -math.inf))
