"""Draws by a compiled loop against the same noise by torch's operators."""

import pytest
import torch

from kernels.draw import cpu
from tests.noise import gumbel, row_keys, token_counters


@pytest.mark.parametrize("size", [1, 7, 1024, 1025, 8192, 30_001])
def test_a_draw_is_the_argmax_of_logits_and_noise(size: int) -> None:
    """Whatever the parts are that a row is taken in, and whatever of them gets no noise because it cannot win."""
    dice = torch.Generator().manual_seed(size)
    low, high = (torch.randint(-(2**31), 2**31 - 1, (40,), generator=dice, dtype=torch.int32) for _ in range(2))
    keys = row_keys(low, high, torch.arange(40, dtype=torch.int32))
    noise = gumbel(keys, token_counters(size, torch.device("cpu")))
    for spread in (0.0, 1.0, 30.0):
        logits = torch.randn(40, size, generator=dice) * spread
        before = logits.clone()
        assert torch.equal(cpu.draw(logits, *keys).long(), (logits + noise).argmax(-1))
        assert torch.equal(logits, before)


def test_what_may_not_be_drawn_is_not() -> None:
    """Also where it fills whole parts of the row."""
    logits = torch.full((3, 5000), -torch.inf)
    logits[:, 4321] = -40.0
    keys = row_keys(*torch.zeros(3, 3, dtype=torch.int32))
    assert cpu.draw(logits, *keys).tolist() == [4321] * 3
    assert cpu.argmax(logits).tolist() == [4321] * 3


@pytest.mark.parametrize("size", [1, 1023, 4097])
def test_the_best_is_the_first_of_the_largest(size: int) -> None:
    logits = torch.randint(0, 50, (20, size)).float()
    assert torch.equal(cpu.argmax(logits).long(), logits.argmax(-1))


def test_keys_are_those_of_the_seed_and_the_position() -> None:
    """Halves of seeds by their bits, in whatever rows they stand."""
    parameters = torch.randint(-(2**31), 2**31 - 1, (50, 18), dtype=torch.int32)
    rows = torch.randint(0, 50, (64,), dtype=torch.int32)
    positions = torch.randint(0, 100_000, (64,), dtype=torch.int32)
    seeds = parameters[rows.long()]
    got, want = cpu.row_keys(parameters, 9, rows, positions), row_keys(seeds[:, 9], seeds[:, 10], positions)
    assert all(map(torch.equal, got, want))
