"""Attention over a paged KV cache, on a CPU."""
