"""The same on a CPU: one pass for the sum, one for the rank, and the best by torch's partial sort."""

import torch
from torch import Tensor


def logprobs(logits: Tensor, drawn: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """logits [S, V] float32, drawn [S] int32 -> chosen [S], ranks [S] int32, ids [S, k] int32, best [S, k].

    Among equals any may come first.
    """
    total = logits.logsumexp(-1, keepdim=True)
    chosen = logits.gather(1, drawn.long()[:, None])
    ranks = (logits > chosen).sum(-1, dtype=torch.int32) + 1
    best = logits.topk(k)
    return (chosen - total)[:, 0], ranks, best.indices.to(torch.int32), best.values - total
