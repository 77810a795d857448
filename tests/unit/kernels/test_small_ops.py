"""RMS norm, rotary positions, the gate and logprobs, against their definitions in float64 and against transformers."""

from typing import Any

import pytest
import torch
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

from kernels.logprobs import logprobs
from kernels.logprobs.reference import logprobs as logprobs_reference
from kernels.rms_norm import rms_norm
from kernels.rms_norm.reference import rms_norm as rms_norm_reference
from kernels.rope import rope_, rope_table
from kernels.rope.reference import rope as rope_reference
from kernels.silu_mul import silu_mul
from kernels.silu_mul.reference import silu_mul as silu_mul_reference
from services.engine.worker.layers.rope import frequencies
from services.engine.worker.models.config import RopeConfig

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-6}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def close(result: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = TOLERANCE[result.dtype]
    torch.testing.assert_close(result.double(), expected.double(), rtol=tolerance, atol=tolerance)


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (65, 100), (0, 64), (5, 3, 24)], ids=str)
def test_rms_norm_is_its_formula(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """One weight for all, or one for each head; also for a strided view, which stays as it is."""
    x = (torch.randn(*shape[:-1], 2 * shape[-1]) * 3).to(dtype)[..., : shape[-1]]
    before = x.clone()
    weight = torch.randn(shape[-2:] if len(shape) == 3 else shape[-1:]).to(dtype)
    close(rms_norm(x, weight, 1e-5), rms_norm_reference(x.double(), weight.double(), 1e-5))
    assert torch.equal(x, before)


def test_rms_norm_is_that_of_transformers() -> None:
    """Bit for bit is not asked; a rounding is."""
    x, norm = torch.randn(9, 64), LlamaRMSNorm(64, 1e-5)
    norm.weight.data.normal_()
    torch.testing.assert_close(rms_norm(x, norm.weight.data, 1e-5), norm(x).detach(), rtol=1e-6, atol=1e-6)


@DTYPES
@pytest.mark.parametrize(("tokens", "heads", "dim"), [(1, 1, 2), (5, 3, 8), (33, 6, 64), (0, 2, 4)])
def test_rope_turns_each_pair_by_the_angle_of_its_position(
    tokens: int, heads: int, dim: int, dtype: torch.dtype
) -> None:
    """In place, on a view of a wider row whose other part it leaves alone."""
    wide = torch.randn(tokens, heads + 2, dim).to(dtype)
    before, positions = wide.clone(), torch.randint(0, 500, (tokens,))
    turns = frequencies(RopeConfig(theta=10_000.0), dim)
    rope_(wide[:, :heads], rope_table(turns, 500, dtype)[positions])
    # The angle itself is a float32 product in any implementation: its rounding at position 500 is not the kernel's.
    angles = (positions[:, None].float() * turns).double()
    close(wide[:, :heads], rope_reference(before[:, :heads].double(), angles))
    assert torch.equal(wide[:, heads:], before[:, heads:])


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
    result = rope_(x.clone(), rope_table(frequencies(ours, 64), 2000, torch.float32)[positions])
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
