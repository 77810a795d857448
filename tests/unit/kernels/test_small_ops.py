"""RMS norm, rotary positions and the write to the cache, the gate and logprobs, against their definitions in float64
and against transformers.
"""

from typing import Any

import pytest
import torch
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

from kernels.logprobs import logprobs
from kernels.logprobs.reference import logprobs as logprobs_reference
from kernels.paged_attention.batch import Page
from kernels.qk_rope_write.cpu import qk_rope_write
from kernels.qk_rope_write.reference import qk_rope_write as qk_rope_write_reference
from kernels.rms_norm.cpu import rms_norm
from kernels.rms_norm.reference import rms_norm as rms_norm_reference
from kernels.rope import rope_table
from kernels.silu_mul.cpu import silu_mul
from kernels.silu_mul.reference import silu_mul as silu_mul_reference
from services.engine.worker.layers.rope import frequencies
from services.engine.worker.models.config import RopeConfig

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-6}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def close(result: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = TOLERANCE[result.dtype]
    torch.testing.assert_close(result.double(), expected.double(), rtol=tolerance, atol=tolerance)


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (65, 100), (0, 64)], ids=str)
def test_rms_norm_is_its_formula(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """The input is left alone."""
    x = (torch.randn(*shape) * 3).to(dtype)
    before = x.clone()
    weight = torch.randn(shape[1]).to(dtype)
    close(rms_norm(x, weight, 1e-5), rms_norm_reference(x.double(), weight.double(), 1e-5))
    assert torch.equal(x, before)


def test_rms_norm_is_that_of_transformers() -> None:
    """Bit for bit is not asked; a rounding is."""
    x, norm = torch.randn(9, 64), LlamaRMSNorm(64, 1e-5)
    norm.weight.data.normal_()
    torch.testing.assert_close(rms_norm(x, norm.weight.data, 1e-5), norm(x).detach(), rtol=1e-6, atol=1e-6)


@DTYPES
@pytest.mark.parametrize("has_norm", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 1, 16, 2), (5, 2, 3, 4, 24), (33, 4, 2, 16, 64), (7, 1, 1, 1, 8)], ids=str)
def test_queries_and_keys_are_normed_and_turned_and_written(
    shape: tuple[int, int, int, int, int], has_norm: bool, dtype: torch.dtype
) -> None:
    """Queries and keys in place, keys and values in their slots, and nothing else changes."""
    tokens, heads, kv_heads, block, dim = shape
    page, blocks, eps = Page(block, kv_heads, dim), 3 * tokens, 1e-5
    qkv = torch.randn(tokens, (heads + 2 * kv_heads) * dim).to(dtype)
    weight = torch.randn(heads + kv_heads, dim).to(dtype) if has_norm else None
    table = rope_table(frequencies(RopeConfig(theta=10_000.0), dim), 500, dtype)
    positions, slots = torch.randint(0, 500, (tokens,), dtype=torch.int32), torch.randperm(blocks * block)[:tokens]
    expected = torch.full((blocks, block, 2, kv_heads, dim), -1.0, dtype=torch.float64)
    wide = None if weight is None else weight.double()
    queries = qk_rope_write_reference(qkv.double(), expected, table.double(), positions, slots, wide, eps)
    cache = torch.full((blocks, kv_heads, 2, block * dim), -1.0).to(dtype)
    given = qkv.clone()
    qk_rope_write(given, cache, page, table, positions, slots, weight, eps)
    values = (heads + kv_heads) * dim
    assert torch.equal(given[:, values:], qkv[:, values:])
    close(given[:, : heads * dim], queries.flatten(1))
    keys = cache[:, :, 0].view(blocks, kv_heads, dim, block).permute(0, 3, 1, 2)
    stored = torch.stack((keys, cache[:, :, 1].view(blocks, kv_heads, block, dim).transpose(1, 2)), dim=2)
    close(stored, expected)


ROPES: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default", "rope_theta": 500_000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    },
}


@pytest.mark.parametrize("kind", ROPES)
def test_rope_is_that_of_transformers(kind: str) -> None:
    """Plain, linear and Llama 3.1's scaling, on positions below and beyond the original context."""
    given = ROPES[kind]
    config = LlamaConfig(hidden_size=256, num_attention_heads=4, rope_parameters=dict(given))
    positions = torch.tensor([0, 1, 17, 255, 256, 1000, 1999])
    x = torch.randn(len(positions), 4, 64)
    cos, sin = LlamaRotaryEmbedding(config)(x, positions[None])
    expected, _ = apply_rotary_pos_emb(x[None], x[None], cos, sin, unsqueeze_dim=2)
    ours = RopeConfig(
        theta=float(given["rope_theta"]),
        kind=kind,
        factor=float(given.get("factor", 1)),
        original_max_position=int(given.get("original_max_position_embeddings", 0)),
    )
    table, result = rope_table(frequencies(ours, 64), 2000, torch.float32), torch.cat((x, x[:, :2]), dim=1).flatten(1)
    slots, cache = torch.arange(len(positions)), torch.empty(1, 1, 2, 8 * 64)
    qk_rope_write(result, cache, Page(8, 1, 64), table, positions.int(), slots)
    result = result.view(len(x), 6, 64)[:, :4]
    # Angles near 2000 radians have an ulp of 1e-4 in float32, and two orders of products differ by one.
    torch.testing.assert_close(result, expected[0], rtol=0, atol=1e-3)
    torch.testing.assert_close(result[:3], expected[0, :3], rtol=0, atol=1e-5)


@DTYPES
@pytest.mark.parametrize("shape", [(1, 2), (7, 26), (64, 320), (0, 8)], ids=str)
def test_silu_mul_is_its_formula(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """The input is left alone."""
    x = (torch.randn(*shape) * 4).to(dtype)
    before = x.clone()
    close(silu_mul(x), silu_mul_reference(x.double()))
    assert torch.equal(x, before)


@pytest.mark.parametrize("shape", [(1, 30), (5, 1000), (3, 151_936)], ids=str)
@pytest.mark.parametrize("k", [0, 5, 20])
def test_logprobs_are_their_definition(shape: tuple[int, int], k: int) -> None:
    """Ids that cannot be drawn have no bound below; the input is left alone."""
    x = torch.randn(*shape) * 4
    x[0, 7] = -torch.inf
    before, drawn = x.clone(), torch.arange(shape[0], dtype=torch.int32) * 3
    for got, want in zip(logprobs(x, drawn, k), logprobs_reference(x.double(), drawn, k), strict=True):
        torch.testing.assert_close(got.double(), want.double(), rtol=1e-6, atol=1e-5)
    assert torch.equal(x, before)
