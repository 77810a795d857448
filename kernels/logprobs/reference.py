"""The same by a log-softmax and a stable sort."""

import torch
from torch import Tensor


def logprobs(logits: Tensor, drawn: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(chosen, ranks, ids, best), computed in the dtype given."""
    every = logits.log_softmax(-1)
    chosen = every.gather(1, drawn.long()[:, None])
    ranks = 1 + (logits > logits.gather(1, drawn.long()[:, None])).sum(-1)
    ids = logits.argsort(dim=-1, descending=True, stable=True)[:, :k]
    return chosen[:, 0], ranks.to(torch.int32), ids.to(torch.int32), every.gather(1, ids)
