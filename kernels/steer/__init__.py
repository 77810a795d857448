"""What may be drawn and what is likelier: allowed ids, biases, banned sequences, stop ids below min_tokens."""

from kernels.steer.cpu import steer

__all__ = ["steer"]
