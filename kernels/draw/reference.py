"""The same draw with a sort, row by row, its noise in Python's own integers."""

import math

import numpy as np
import torch
from torch import Tensor

_WORD, _LONG = (1 << 32) - 1, (1 << 64) - 1


def draw(logits: Tensor, knobs: Tensor, rows: Tensor, ends: Tensor) -> Tensor:
    """[S] int32. logits [S, V] are divided in float32, so that ties are those of the kernel; the rest is float64."""
    drawn = []
    for x, row, end in zip(logits, rows.tolist(), ends.tolist(), strict=True):
        low, high, top_k = knobs[row, :3].tolist()
        temperature, top_p, min_p = knobs[row, 3:].view(torch.float32).tolist()
        if temperature >= 1e-5:
            x = keep((x.float() / temperature).double(), top_k, top_p, min_p)
            x = x + gumbel((high & _WORD) << 32 | low & _WORD, end, len(x))
        drawn.append(int(x.argmax()))
    return torch.tensor(drawn, dtype=torch.int32)


def keep(x: Tensor, top_k: int, top_p: float, min_p: float) -> Tensor:
    """x [V] with -inf where a token may not be drawn (top-k, Holtzman et al. 2020, Nguyen et al. 2024)."""
    best = x.sort(descending=True).values
    if 0 < top_k < len(x):
        x = x.where(x >= best[top_k - 1], -math.inf)
    if top_p < 1:
        share = x.sort(descending=True).values.softmax(0)
        kept = int((share.cumsum(0) - share < top_p).sum())
        x = x.where(x >= best[max(kept, 1) - 1], -math.inf)
    return x.where(x >= best[0] + math.log(min_p), -math.inf) if min_p > 0 else x


def gumbel(seed: int, position: int, vocab: int) -> Tensor:
    """[V] float64, by the hash that `kernels.draw.cpu` describes."""
    key = _mix64((_mix64(seed) + position * 0x9E3779B97F4A7C15) & _LONG)
    x = np.arange(vocab, dtype=np.uint64) * 0x9E3779B1 & _WORD ^ (key & _WORD)
    x = ((x ^ x >> 16) * 0x7FEB352D + (key >> 32)) & _WORD
    x = (x ^ x >> 15) * 0x846CA68B & _WORD
    x ^= x >> 16
    return torch.from_numpy(-np.log(-np.log((x >> 9).astype(np.float64) * 2**-23 + 2**-24)))


def _mix64(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _LONG
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _LONG
    return x ^ x >> 31
