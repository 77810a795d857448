"""The loop of products against its definition in float64, on sizes that fill no panel, no tile and no block."""

import pytest
import torch

from kernels.linear.cpu import Matrix, linear
from kernels.linear.reference import linear as reference

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-6}
SHAPES = [(48, 40), (1024, 256), (30, 17), (2, 1)]  # outputs, inputs


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_its_formula(threads: int, shape: tuple[int, int], gated: bool, dtype: torch.dtype) -> None:
    """Every number of rows up to a tile and some above a block; what lies behind y stays."""
    (outputs, inputs), tolerance = shape, TOLERANCE[dtype]
    dice, before = torch.Generator().manual_seed(4), torch.get_num_threads()
    weight, bias = torch.randn(shape, generator=dice).to(dtype) / inputs**0.5, torch.randn(outputs).to(dtype)
    scale, size = torch.randn(inputs, generator=dice).to(dtype), outputs // 2 if gated else outputs
    matrix = Matrix(weight, bias, gated=gated)
    torch.set_num_threads(threads)
    try:
        for rows in (0, *range(1, 14), 97, 200):
            x = torch.randn(rows, inputs, generator=dice).to(dtype)
            whole = torch.full((rows + 1, size), -7.0, dtype=dtype)
            linear(x, matrix, whole[:rows], norm=(scale, 1e-6))
            norm = scale.double(), 1e-6
            expected = reference(x.double(), weight.double(), bias.double(), norm, gated)
            torch.testing.assert_close(whole[:rows].double(), expected, rtol=tolerance, atol=4 * tolerance)
            assert (whole[rows] == -7.0).all()
    finally:
        torch.set_num_threads(before)


def test_tensors_that_do_not_fit_are_refused() -> None:
    """The loop would read and write past them."""
    matrix = Matrix(torch.zeros(8, 4))
    for x, y in ((torch.zeros(2, 5), torch.zeros(2, 8)), (torch.zeros(2, 4), torch.zeros(3, 8))):
        with pytest.raises(ValueError, match="linear"):
            linear(x, matrix, y)
