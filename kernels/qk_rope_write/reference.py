"""The parts one after the other: norm of each head, rotation of each pair, copy of each token."""

import torch
from torch import Tensor

from kernels.rms_norm.reference import rms_norm


def qk_rope_write(
    qkv: Tensor,
    cache: Tensor,
    table: Tensor,
    positions: Tensor,
    slots: Tensor,
    weight: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    """Returns the queries, new; the cache is changed. Computed in the dtype given, float64 for tests."""
    kv_heads, dim = cache.shape[-2:]
    x = qkv.view(len(qkv), qkv.shape[1] // dim, dim)
    qk, values = x[:, :-kv_heads], x[:, -kv_heads:]
    if weight is not None:
        qk = rms_norm(qk, weight, eps)
    cos, sin = table[positions.long()][:, :, None].unbind(1)  # [T, 1, D]
    first, second = qk.chunk(2, dim=-1)
    qk = qk * cos + torch.cat((second, first), dim=-1) * sin
    keys: Tensor = qk[:, -kv_heads:]
    live = slots >= 0
    cache.view(-1, 2, kv_heads, dim)[slots[live]] = torch.stack((keys, values), dim=1)[live]
    queries: Tensor = qk[:, :-kv_heads]
    return queries
