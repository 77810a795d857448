"""Rotary position embedding."""

from kernels.rope.cpu import rope_, rope_table

__all__ = ["rope_", "rope_table"]
