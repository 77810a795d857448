"""The noise that draws are made with, by torch's operators: what `kernels.draw.cpu` is held against.

services/engine/worker/noise.py says what it is, and makes the keys.
"""

import torch
from torch import Tensor

_GOLDEN32 = 0x9E3779B1 - (1 << 32)


def token_counters(vocab_size: int, device: torch.device) -> Tensor:
    """[V] int32: the token ids, spread over all bits."""
    return torch.arange(vocab_size, dtype=torch.int32, device=device) * _GOLDEN32


def uniforms(keys: tuple[Tensor, Tensor], counters: Tensor) -> Tensor:
    """[S, V] float32, uniform on the odd multiples of 2^-24 in (0, 1): neither 0 nor 1 can occur."""
    first, second = keys
    x = counters ^ first[:, None]
    scratch = torch.empty_like(x)
    _fold(x, scratch, 16)
    x.mul_(0x7FEB352D).add_(second[:, None])
    _fold(x, scratch, 15)
    x.mul_(0x846CA68B - (1 << 32))
    _fold(x, scratch, 16)
    x.bitwise_right_shift_(9).bitwise_and_(0x7FFFFF)
    return x.to(torch.float32).add_(0.5).mul_(2.0**-23)


def gumbel(keys: tuple[Tensor, Tensor], counters: Tensor) -> Tensor:
    """[S, V] float32: -log(-log(u)); the argmax of logits plus this is a draw from their softmax."""
    return uniforms(keys, counters).log_().neg_().log_().neg_()


def _fold(x: Tensor, scratch: Tensor, bits: int) -> None:
    """x ^= x >>> bits. Torch shifts signed numbers arithmetically, so the sign is masked off."""
    torch.bitwise_right_shift(x, bits, out=scratch)
    x.bitwise_xor_(scratch.bitwise_and_((1 << (32 - bits)) - 1))
