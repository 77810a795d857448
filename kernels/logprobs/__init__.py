"""The log-probability of a drawn token, its rank, and those of the best tokens beside it."""

from kernels.logprobs.cpu import logprobs

__all__ = ["logprobs"]
