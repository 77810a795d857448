"""The noise that draws are made with, by torch's operators: what `kernels.draw.cpu` is held against.

`kernels.draw.cpu` says what it is.
"""

import torch
from torch import Tensor

_GOLDEN32 = 0x9E3779B1 - (1 << 32)
_GOLDEN64 = 0x9E3779B97F4A7C15 - (1 << 64)


def row_keys(seed_low: Tensor, seed_high: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Two keys [S] int32 for each row; all arguments [S] int32, the seed in two halves."""
    seed = seed_high.long().bitwise_left_shift(32).bitwise_or(seed_low.long().bitwise_and(0xFFFFFFFF))
    key = _mix64(_mix64(seed) + position.long() * _GOLDEN64)
    return key.to(torch.int32), key.bitwise_right_shift(32).to(torch.int32)


def _mix64(x: Tensor) -> Tensor:
    x = (x ^ _shift64(x, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    x = (x ^ _shift64(x, 27)) * (0x94D049BB133111EB - (1 << 64))
    return x ^ _shift64(x, 31)


def _shift64(x: Tensor, bits: int) -> Tensor:
    return x.bitwise_right_shift(bits).bitwise_and((1 << (64 - bits)) - 1)


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
