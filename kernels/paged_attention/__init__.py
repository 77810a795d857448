"""Attention over a paged KV cache."""

from kernels.paged_attention.batch import PagedBatch, write_kv
from kernels.paged_attention.cpu import PagedAttention

__all__ = ["PagedAttention", "PagedBatch", "write_kv"]
