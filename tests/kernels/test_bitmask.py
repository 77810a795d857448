"""Masks of bits on logits: the kernel, the CPU's way and the reference agree, at every width and in any row."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels.bitmask import cpu, kernel, reference

WAYS = (cpu.bitmask, kernel.bitmask)


def given(vocab: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of a wider tensor; masks of random bits, of all, of none, and of one."""
    dice = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, vocab + 3, generator=dice)[:, :vocab]
    words = torch.randint(-(2**31), 2**31 - 1, (4, -(-vocab // 32) + 1), generator=dice, dtype=torch.int32)
    words[1], words[2], words[3] = -1, 0, 0
    words[3, (vocab - 1) // 32] = 1 << (vocab - 1) % 32 if (vocab - 1) % 32 < 31 else -(2**31)
    return logits, torch.tensor([4, 0, 0, 2], dtype=torch.int32), words


@pytest.mark.parametrize("vocab", [1, 31, 32, 33, 64, 1000, 4096, 4097, 9001])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__module__)
def test_a_bit_that_is_not_set_forbids_its_id(way: Callable[..., Tensor], vocab: int) -> None:
    """Bits beyond the vocabulary mean nothing; the logits themselves stay as they are."""
    logits, at, words = given(vocab)
    before = logits.clone()
    got = way(logits, at, words)
    assert torch.equal(got, reference.bitmask(logits, at, words))
    assert torch.equal(logits, before)
    assert torch.equal(got[1], before[0]) and bool((got[2] == -torch.inf).all())
    assert (got[3] > -torch.inf).nonzero().flatten().tolist() == [vocab - 1]


def test_the_kernel_refuses() -> None:
    """Masks that are too narrow, of another dtype, for another number of rows."""
    logits, at, words = given(100)
    for wrong in (
        (logits, at, words[:, :3]),
        (logits, at, words.long()),
        (logits, at[:2], words),
        (logits.T, at, words),
    ):
        with pytest.raises(ValueError, match="bitmask"):
            kernel.bitmask(*wrong)
