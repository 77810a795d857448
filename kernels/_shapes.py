"""The models whose shapes every kernel is tested, compiled ahead of time and measured in."""

from typing import NamedTuple

import torch


class Shape(NamedTuple):
    name: str
    hidden: int
    heads: int
    kv_heads: int
    dim: int  # of a head
    inner: int  # of the feed-forward
    vocab: int
    qk_norm: bool
    dtype: torch.dtype
    block: int  # tokens in a block of the KV cache
    window: int | None = None


SHAPES = (
    Shape("qwen3-0.6b", 1024, 16, 8, 128, 3072, 151936, True, torch.bfloat16, 16),
    Shape("qwen3-14b", 5120, 40, 8, 128, 17408, 151936, True, torch.bfloat16, 32),
    Shape("llama-3-8b", 4096, 32, 8, 128, 14336, 128256, False, torch.bfloat16, 64),
    Shape("mistral-7b", 4096, 32, 8, 128, 14336, 32000, False, torch.float16, 16, 4096),
    Shape("small", 192, 6, 2, 48, 512, 4099, True, torch.float32, 16),
)
