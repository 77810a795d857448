"""Products with a matrix as it is and as loops or oneDNN like it: the same numbers, and the same places changed."""

import pytest
import torch
from torch import Tensor

from kernels.linear.reference import linear
from kernels.rms_norm.cpu import rms_norm
from kernels.silu_mul.cpu import silu_mul
from services.engine.worker.layers.cpu_products import (
    FEW,
    TWICE,
    Both,
    Kind,
    Packed,
    Panels,
    best_on_cpu,
    lie_twice,
    rounded,
)
from services.engine.worker.layers.product import Gated, Plain, Product

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
PACKED = [torch.float32] + [torch.bfloat16] * torch.ops.mkldnn._is_mkldnn_bf16_supported()
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2**-6}


def both(weight: Tensor, bias: Tensor | None) -> Product:
    return Both(Panels(weight, bias), Packed(weight, bias))


class Norm:
    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.eps = 1e-5

    def __call__(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def close(result: Tensor, to: Tensor, dtype: torch.dtype) -> None:
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(result.double(), to, rtol=tolerance, atol=8 * tolerance)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, dtype) for kind in (Plain, Panels) for dtype in TOLERANCE]
    + [(kind, dtype) for kind in (Packed, both) for dtype in PACKED],
)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("tokens", [1, 3, FEW, FEW + 1, 64, 200])
def test_products_are_their_definition(kind: Kind, tokens: int, biased: bool, dtype: torch.dtype) -> None:
    """With a norm, wide, into a tensor and added to it; neither x nor the matrix is changed."""
    weight, bias = torch.randn(48, 40).to(dtype), torch.randn(48).to(dtype) if biased else None
    x, y, norm = torch.randn(tokens, 40).to(dtype), torch.randn(tokens, 48).to(dtype), Norm(torch.randn(40).to(dtype))
    product: Product = kind(weight, bias)
    wide_bias, before = None if bias is None else bias.double(), x.clone()
    expected = linear(x.double(), weight.double(), wide_bias)
    close(product(x), expected, dtype)
    close(product(x, norm), linear(x.double(), weight.double(), wide_bias, (norm.weight.double(), norm.eps)), dtype)
    wide = product(x, wide=True)
    assert wide.dtype == torch.float32
    close(wide, expected, dtype)
    into, added = y.clone(), y.clone()
    product.into(into, x, adds=False)
    product.into(added, x, adds=True)
    close(into, expected, dtype)
    close(added, expected + y.double(), dtype)
    assert torch.equal(x, before)


@DTYPES
@pytest.mark.parametrize("inner", [32, 40, 7])
def test_gates_are_their_definition(inner: int, dtype: torch.dtype) -> None:
    """As a part of the loop and as an operator behind the product, also where the outputs fill no panel."""
    weight, bias = torch.randn(2 * inner, 24).to(dtype) / 5, torch.randn(2 * inner).to(dtype)
    x = torch.randn(5, 24).to(dtype)
    expected = linear(x.double(), weight.double(), bias.double(), gated=True)
    both: list[Product] = [Panels(weight, bias, gated=True), Gated(Plain(weight, bias), silu_mul)]
    for product in both:
        into, added = torch.ones(5, inner, dtype=dtype), torch.ones(5, inner, dtype=dtype)
        close(product(x), expected, dtype)
        close(product(x, wide=True), expected, dtype)
        product.into(into, x, adds=False)
        close(into, expected, dtype)
        if isinstance(product, Gated):
            product.into(added, x, adds=True)
            close(added, expected + 1, dtype)


@DTYPES
def test_a_matrix_is_laid_out_where_it_can_be(dtype: torch.dtype) -> None:
    """By loops where the processor has vectors; bfloat16 by what is faster, if oneDNN knows it."""
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        assert best_on_cpu(dtype) in (Plain, Packed)
    elif dtype == torch.float32 or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert best_on_cpu(dtype) is Panels
    else:
        assert best_on_cpu(dtype) in (Panels, Packed)


def test_a_small_model_may_lie_there_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where oneDNN is better for many rows, and loops may be for few."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert [lie_twice(kind, TWICE) for kind in (Packed, Panels, Plain)] == [True, False, False]
    assert not lie_twice(Packed, TWICE + 1)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert not lie_twice(Packed, TWICE)


def test_few_numbers_of_rows_are_met() -> None:
    """Each costs oneDNN a program, and each row that is added is work for nothing."""
    sizes = [rounded(rows) for rows in range(1, 1025)]
    assert len(set(sizes)) < 40
    assert all(rows <= size <= max(rows + 1, 1.6 * rows) for rows, size in enumerate(sizes, 1))
    assert all(size <= 1.25 * rows for rows, size in enumerate(sizes, 1) if rows > 32)
    assert rounded(1) == 1
    assert rounded(3000) == 3072
