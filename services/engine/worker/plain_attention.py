"""The attention of a step on a CPU."""

from dataclasses import dataclass

from torch import Tensor

from kernels.paged_attention.batch import Page
from kernels.paged_attention.cpu import PagedAttention
from kernels.qk_rope_write.cpu import qk_rope_write
from services.engine.worker.layers.ops import Norm


@dataclass(frozen=True, slots=True)
class PlainAttend:
    """See `layers.ops.Attend`."""

    page: Page
    rope: Tensor  # [P, 2, D]: `rope_table`
    positions: Tensor  # [T] int32
    slots: Tensor  # [T] int64: where keys and values go
    attention: PagedAttention

    def __call__(self, qkv: Tensor, cache: Tensor, norm: Norm | None, window: int | None) -> Tensor:
        weight, eps = (None, 0.0) if norm is None else (norm.weight, norm.eps)
        qk_rope_write(qkv, cache, self.page, self.rope, self.positions, self.slots, weight, eps)
        return self.attention(qkv, cache, window)
