"""The attention of a step by torch's operators: for CPUs, correct on any device."""

from dataclasses import dataclass

from torch import Tensor

from kernels.paged_attention import PagedAttention, write_kv
from kernels.rms_norm import rms_norm
from kernels.rope import rope_
from services.engine.worker.layers.ops import Norm


@dataclass(frozen=True, slots=True)
class PlainAttend:
    """See `layers.ops.Attend`."""

    heads: int
    kv_heads: int
    rope: Tensor  # [T, 2, D]: rows of `rope_table`
    slots: Tensor  # [T] int64: where keys and values go
    attention: PagedAttention

    def __call__(self, qkv: Tensor, cache: Tensor, norm: Norm | None, window: int | None) -> Tensor:
        dim = self.rope.shape[-1]
        heads = qkv.view(qkv.shape[0], -1, dim)  # queries, keys, values
        qk = heads[:, : self.heads + self.kv_heads]
        if norm is not None:
            qk.copy_(rms_norm(qk, norm.weight, norm.eps))
        rope_(qk, self.rope)
        write_kv(cache, self.slots, qkv[:, self.heads * dim :])
        return self.attention(qk[:, : self.heads], cache, window)
