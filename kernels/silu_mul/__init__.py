"""The gate of a gated feed-forward layer."""

from kernels.silu_mul.cpu import silu_mul

__all__ = ["silu_mul"]
