"""The same, row by row and id by id."""

import math

import torch
from torch import Tensor


def steer(logits: Tensor, lists: Tensor, columns: Tensor, tokens: Tensor, rows: Tensor, ends: Tensor) -> Tensor:
    """logits [S, V] changed in place, in the dtype given; ids outside the vocabulary change nothing."""
    for x, row, end in zip(logits, rows.tolist(), ends.tolist(), strict=True):
        if row < 0:
            continue
        prompt, free_from, *counts = columns[row].tolist()
        stops, biased, biases, allowed, last, lengths, starts, before = _lists(lists[row], *counts)
        if len(allowed):
            kept = [id for id in allowed.tolist() if 0 <= id < len(x)]
            forbidden = torch.ones(len(x), dtype=torch.bool)
            forbidden[kept] = False
            x[forbidden] = -math.inf
        for id, bias in zip(biased.tolist(), biases.view(torch.float32).tolist(), strict=True):
            if 0 <= id < len(x):
                x[id] += bias
        output = tokens[row, prompt:end].tolist()
        for id, length, start in zip(last.tolist(), lengths.tolist(), starts.tolist(), strict=True):
            if 0 <= id < len(x) and ([*output, 0][-1 - length : -1] == before[start : start + length].tolist()):
                x[id] = -math.inf
        if end < free_from:
            x[[id for id in stops.tolist() if 0 <= id < len(x)]] = -math.inf
    return logits


def _lists(row: Tensor, stops: int, biases: int, allowed: int, banned: int) -> tuple[Tensor, ...]:
    sizes = (stops, biases, biases, allowed, banned, banned, banned)
    return torch.split(row, [*sizes, len(row) - sum(sizes)])
