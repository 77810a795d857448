"""Products with a matrix as it is and as oneDNN likes it: the same numbers, and the same places changed."""

import pytest
import torch

from services.engine.worker.layers.product import Packed, Plain, Product, best_on_cpu, rounded

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2**-6}


@DTYPES
@pytest.mark.parametrize("kind", [Plain, Packed])
@pytest.mark.parametrize("tokens", [1, 3, 64, 200])
def test_products_are_their_definition(kind: type[Plain] | type[Packed], tokens: int, dtype: torch.dtype) -> None:
    """With a bias, without one, into a tensor and added to it; neither x nor the matrix is changed."""
    weight, bias = torch.randn(48, 40).to(dtype), torch.randn(48).to(dtype)
    x, y = torch.randn(tokens, 40).to(dtype), torch.randn(tokens, 48).to(dtype)
    product: Product = kind(weight)
    expected, tolerance = x.double() @ weight.double().t(), TOLERANCE[dtype]

    def close(result: torch.Tensor, to: torch.Tensor) -> None:
        torch.testing.assert_close(result.double(), to, rtol=tolerance, atol=8 * tolerance)

    close(product(x), expected)
    close(product(x, bias), expected + bias.double())
    into, added = y.clone(), y.clone()
    product.into(into, x, adds=False)
    product.into(added, x, adds=True)
    close(into, expected)
    close(added, expected + y.double())


@DTYPES
def test_a_matrix_is_packed_where_it_can_be(dtype: torch.dtype) -> None:
    """float32 everywhere that oneDNN is; bfloat16 where the processor knows it."""
    can = dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert best_on_cpu(dtype) is (Packed if can else Plain)


def test_few_numbers_of_rows_are_met() -> None:
    """Each costs a program, and each row that is added is work for nothing."""
    sizes = [rounded(rows) for rows in range(1, 1025)]
    assert len(set(sizes)) < 40
    assert all(rows <= size <= max(rows + 1, 1.6 * rows) for rows, size in enumerate(sizes, 1))
    assert all(size <= 1.25 * rows for rows, size in enumerate(sizes, 1) if rows > 32)
    assert rounded(1) == 1
    assert rounded(3000) == 3072
