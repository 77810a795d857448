"""The workload is the published one, and so is the ceiling computed for it."""

import pytest

from services.engine.worker.models.config import model_config
from tools.gpu_check.ceiling import Roofs, ceiling
from tools.gpu_check.shapes import CONFIGS
from tools.gpu_check.workload import LONGEST, SHORTEST, Ask, tokens_out, workload

DATASHEET = Roofs(4.8e12, 790e12)


def test_the_workload_has_the_published_tokens() -> None:
    """256 requests by Python's own random: as many tokens in and out as nano-vllm's README counts."""
    asks = workload(256)
    assert sum(len(ask.prompt) for ask in asks) == 142_827
    assert tokens_out(asks) == 133_966
    assert [len(ask.prompt) for ask in asks[:5]] == [964, 724, 484, 508, 316]
    assert [ask.tokens for ask in asks[:5]] == [845, 312, 607, 843, 500]
    assert all(SHORTEST <= len(ask.prompt) <= LONGEST for ask in asks)


def test_a_model_with_few_ids_gets_only_those() -> None:
    assert max(id for ask in workload(50, dry=True, ids=7) for id in ask.prompt) == 7


@pytest.mark.parametrize(
    "model, prefill_s, decode_s, tokens_per_s",
    [
        ("qwen3-0.6b", 0.174, 3.171, 40_051),
        ("qwen3-14b", 4.829, 10.814, 8_564),
        ("llama-3-8b", 2.557, 6.888, 14_185),
    ],
)
def test_the_ceiling_is_the_published_one(model: str, prefill_s: float, decode_s: float, tokens_per_s: float) -> None:
    """At the datasheet's 4.8 TB/s and 790 TFLOP/s, by an earlier computation of somebody else's."""
    least = ceiling(model_config(CONFIGS[model]), workload(256), DATASHEET)
    assert least.prefill_s == pytest.approx(prefill_s, abs=1e-3)
    assert least.decode_s == pytest.approx(decode_s, abs=1e-3)
    assert least.tokens_per_s == pytest.approx(tokens_per_s, rel=1e-4)


def test_the_ceiling_at_the_measured_bandwidth_is_what_the_goals_were_set_by() -> None:
    """About 36,000 tokens a second for Qwen3-0.6B at 4.3 TB/s; 75 % of it is 27,000."""
    least = ceiling(model_config(CONFIGS["qwen3-0.6b"]), workload(256), Roofs(4.3e12, 790e12))
    assert 35_500 < least.tokens_per_s < 36_500


def test_a_step_that_multiplies_longer_than_it_reads_is_bound_by_that() -> None:
    """With infinitely fast memory one request costs its operations alone, and the reverse."""
    model, asks = model_config(CONFIGS["tiny"]), [Ask((1, 2), 3)]
    head, layers = 1000 * 64, model.num_parameters - 1000 * 64
    product = ceiling(model, asks, Roofs(float("inf"), 1.0))
    assert product.decode_s == 2 * 2 * (head + layers)
    read = ceiling(model, asks, Roofs(1.0, float("inf")))
    assert read.decode_s == 2 * 2 * (head + layers) + (3 + 4) * 2 * 2 * 2 * 32 * 2
