"""Rotary position embedding."""

from kernels.rope.table import rope_table

__all__ = ["rope_table"]
