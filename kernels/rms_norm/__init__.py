"""Root mean square norm."""

from kernels.rms_norm.cpu import rms_norm

__all__ = ["rms_norm"]
