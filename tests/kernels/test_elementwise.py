"""Norm, gate, and what lies between projection and attention: odd sizes, strided views, guard rows, refusals."""

from typing import Any

import pytest
import torch

from kernels.qk_rope_write import kernel as qk_rope_write
from kernels.qk_rope_write import reference as qk_rope_write_reference
from kernels.rms_norm import kernel as rms_norm
from kernels.rms_norm import reference as rms_norm_reference
from kernels.rope import rope_table
from kernels.silu_mul import kernel as silu_mul
from kernels.silu_mul import reference as silu_mul_reference
from tests.kernels.harness import assert_agrees, frame_is_whole, framed

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SIZES = ((0, 64), (1, 1), (1, 63), (3, 100), (2, 1021), (5, 4096))


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("T, H", SIZES)
def test_rms_norm_reads_strided_and_writes_only_its_rows(T: int, H: int, dtype: torch.dtype) -> None:
    """x is a part of wider rows; the rows before and after the output and the residual stay as they are."""
    x, weight = normal(T, 2 * H, dtype=dtype)[:, :H], normal(H, dtype=dtype, seed=1)
    (whole, out), (rest, residual) = framed((T, H), dtype), framed((T, H), dtype)
    residual.copy_(normal(T, H, dtype=dtype, seed=2))
    summed = x.double() + residual.double()

    assert rms_norm.rms_norm(x, weight, 1e-6, residual=residual, out=out) is out

    assert_agrees(residual, summed)
    assert_agrees(out, rms_norm_reference.rms_norm(summed, weight.double(), 1e-6), roundings=2)
    assert frame_is_whole(whole) and frame_is_whole(rest)


@pytest.mark.parametrize(
    "x, weight",
    [
        (torch.zeros(4, 8).T, torch.zeros(4)),
        (torch.zeros(4, 8), torch.zeros(4)),
        (torch.zeros(4, 8), torch.zeros(8, dtype=torch.float16)),
    ],
    ids=["strided last dimension", "wrong width", "mixed dtypes"],
)
def test_rms_norm_refuses(x: torch.Tensor, weight: torch.Tensor) -> None:
    """What the kernel cannot read right is an error that says what was given."""
    with pytest.raises(ValueError, match="rms_norm"):
        rms_norm.rms_norm(x, weight, 1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("T, inner", SIZES)
def test_silu_mul_reads_strided_and_writes_only_its_rows(T: int, inner: int, dtype: torch.dtype) -> None:
    """x is a part of wider rows, the output lies between guard rows."""
    x = normal(T, 2 * inner + 3, dtype=dtype)[:, : 2 * inner] * 4
    x = torch.cat((x, x), dim=1)[:, : 2 * inner]
    whole, out = framed((T, inner), dtype)
    silu_mul.silu_mul(x, out=out)
    assert_agrees(out, silu_mul_reference.silu_mul(x.double()))
    assert frame_is_whole(whole)


def test_silu_mul_does_not_overflow() -> None:
    """exp(-x) is infinite for a very negative gate, and the gate is then shut."""
    x = torch.tensor([[-1e4, -88.8, 0.0, 88.8, 1e4, 1.0, 1.0, 1.0, 1.0, 1.0]])
    assert silu_mul.silu_mul(x).tolist() == [[0.0, pytest.approx(0, abs=1e-30), 0.0, pytest.approx(88.8), 1e4]]


@pytest.mark.parametrize("x", [torch.zeros(2, 7), torch.zeros(8, 2).T], ids=["odd width", "strided"])
def test_silu_mul_refuses(x: torch.Tensor) -> None:
    """A gate and a rest that do not pair, or do not lie together."""
    with pytest.raises(ValueError, match="silu_mul"):
        silu_mul.silu_mul(x)


@pytest.mark.parametrize("normed", [True, False], ids=["with norm", "without norm"])
@pytest.mark.parametrize(
    "T, heads, kv_heads, D, block", [(0, 2, 1, 8, 4), (1, 1, 1, 2, 1), (5, 6, 2, 20, 7), (3, 7, 1, 64, 16)]
)
def test_qk_rope_write_changes_queries_and_its_slots_only(
    T: int, heads: int, kv_heads: int, D: int, block: int, normed: bool
) -> None:
    """Tokens of qkv are parts of wider rows; a token without a slot leaves the cache alone; so do all others' slots."""
    blocks, width = 4, (heads + 2 * kv_heads) * D
    wide = normal(T, width + 16, dtype=torch.float32)
    qkv = wide[:, :width]
    whole, cache = framed((blocks, block, 2, kv_heads, D), torch.float32)
    cache.copy_(normal(blocks, block, 2, kv_heads, D, seed=1))
    table = rope_table(torch.linspace(1, 0.1, D // 2), 50, torch.float32)
    positions = torch.arange(T, dtype=torch.int32) * 7 % 50
    slots = (torch.arange(T) * 5 + 3) % (blocks * block)
    slots[1:2] = -1
    weight = normal(heads + kv_heads, D, seed=2) if normed else None
    before, want_cache = wide.clone(), cache.double()
    want = qk_rope_write_reference.qk_rope_write(
        qkv.double(), want_cache, table.double(), positions, slots, None if weight is None else weight.double(), 1e-6
    )

    queries = qk_rope_write.qk_rope_write(qkv, cache, table, positions, slots, weight, 1e-6)

    assert queries.shape == (T, heads, D)
    assert T == 0 or queries.data_ptr() == qkv.data_ptr()
    assert_agrees(queries, want)
    assert_agrees(cache, want_cache)
    assert torch.equal(wide[:, heads * D :], before[:, heads * D :])
    assert frame_is_whole(whole)


def test_qk_rope_write_refuses() -> None:
    """Heads that cannot be shared out, a table of another width, slots of another type."""
    cache, table = torch.zeros(2, 4, 2, 2, 8), torch.zeros(9, 2, 8)
    at, slots = torch.zeros(3, dtype=torch.int32), torch.zeros(3, dtype=torch.int64)
    good: dict[str, Any] = {"qkv": torch.zeros(3, 64), "cache": cache, "table": table, "positions": at, "slots": slots}
    for wrong in (
        {"qkv": torch.zeros(3, 56)},
        {"table": torch.zeros(9, 2, 6)},
        {"slots": at},
        {"weight": torch.zeros(4, 8)},
        {"cache": cache.half()},
        {"cache": cache.transpose(0, 1)},
    ):
        with pytest.raises(ValueError, match="qk_rope_write"):
            qk_rope_write.qk_rope_write(**{**good, **wrong})
