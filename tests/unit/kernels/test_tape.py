"""Recorded loops do what they do one by one, for any number of rows and threads."""

import pytest
import torch

from kernels._tape import Tape
from kernels.linear.cpu import Matrix, linear
from kernels.rms_norm.cpu import rms_norm
from kernels.silu_mul.cpu import silu_mul

ROWS, SIZE = 40, 64


@pytest.mark.parametrize("threads", [1, 2])
def test_a_tape_runs_what_it_recorded(threads: int) -> None:
    """While it records nothing happens; then each run reads and writes the same tensors, as many rows as it is told."""
    weight, before = torch.randn(2 * SIZE, SIZE), torch.get_num_threads()
    matrix, scale = Matrix(weight), torch.randn(SIZE)
    x, y, tape = torch.randn(ROWS, SIZE), torch.zeros(ROWS, 2 * SIZE), Tape()
    with tape.record():
        linear(rms_norm(x, scale, 1e-5), matrix, y)
        z = silu_mul(y)
    assert (y == 0).all()
    torch.set_num_threads(threads)
    try:
        for rows in (3, ROWS, 1):
            x.copy_(torch.randn(ROWS, SIZE))
            y.zero_()
            tape.run(rows)
            want = torch.empty(rows, 2 * SIZE)
            linear(rms_norm(x[:rows], scale, 1e-5), matrix, want)
            assert torch.equal(y[:rows], want)
            assert torch.equal(z[:rows], silu_mul(want))
            assert (y[rows:] == 0).all()
    finally:
        torch.set_num_threads(before)


def test_what_fails_while_it_is_recorded_leaves_no_recorder() -> None:
    """Loops run again at once."""
    with pytest.raises(ValueError, match="contiguous"), Tape().record():
        rms_norm(torch.zeros(4, 8)[:, :4], torch.ones(4), 1e-5)
    assert torch.equal(silu_mul(torch.zeros(2, 4)), torch.zeros(2, 2))
