"""Logits of what a mask allows, one bit for each id; on a CPU by torch's operators."""

from kernels.bitmask.cpu import bitmask as bitmask
