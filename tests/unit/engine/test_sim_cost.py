"""What `--device sim` says a step costs: the arithmetic of a roofline, by hand."""

from dataclasses import replace

import pytest

from services.engine.core.step import RowWork
from services.engine.worker.cost import Card, cost_model
from services.engine.worker.models.config import model_config

H200 = Card(bandwidth=4.3e12, flops=790e12, memory=141e9, overhead_s=500e-6)
QWEN3_06B = {
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}


def test_a_decode_step_takes_the_time_to_read_the_weights_and_the_context() -> None:
    """Qwen3-0.6B on an H200: 1.19 GB of weights, 112 KiB for each position of each row, and a fixed part."""
    cost = cost_model(model_config(QWEN3_06B), H200, 2)
    assert (cost.weight_bytes, cost.kv_bytes) == (1_191_968_768, 114_688)
    one = cost.seconds([RowWork(0, 1023, 1, True)])
    assert one == pytest.approx(500e-6 + 1_191_968_768 / 4.3e12 + 1024 * 114_688 / 4.3e12)
    many = cost.seconds([RowWork(row, 1099, 1, True) for row in range(256)])
    assert many == pytest.approx(500e-6 + 2 * 595_984_384 * 256 / 790e12 + 256 * 1100 * 114_688 / 4.3e12)


def test_a_prefill_is_bound_by_operations_and_grows_faster_than_its_length() -> None:
    """8,192 tokens: two operations for each parameter and token, and attention by the square."""
    cost = cost_model(model_config(QWEN3_06B), replace(H200, overhead_s=0.0), 2)
    body, head = cost.body, cost.head
    assert (body, head) == (440_401_920, 155_582_464)
    pairs = 8192 * 8193 // 2
    seconds = cost.seconds([RowWork(0, 0, 8192, True)])
    assert seconds == pytest.approx((2 * (body * 8192 + head) + 4 * 28 * 16 * 128 * pairs) / 790e12)
    halves = cost.seconds([RowWork(0, 0, 4096, False)]) + cost.seconds([RowWork(0, 4096, 4096, True)])
    assert halves == pytest.approx(seconds, rel=1e-3)


def test_an_embedding_that_is_not_the_output_matrix_is_not_read_each_step() -> None:
    """Its rows are looked up; only the output matrix counts."""
    tied = cost_model(model_config(QWEN3_06B), H200, 2)
    assert cost_model(model_config(QWEN3_06B | {"tie_word_embeddings": False}), H200, 2) == tied


def test_speed_divides_every_time_and_a_set_rate_replaces_them() -> None:
    """A rate counts drawn tokens of all rows; a chunk of a prefill that draws none is free then."""
    work = [RowWork(row, 10, 1, True) for row in range(5)]
    cost = cost_model(model_config(QWEN3_06B), H200, 2)
    assert replace(cost, speed=10.0).seconds(work) == pytest.approx(cost.seconds(work) / 10)
    rated = replace(cost, tokens_per_second=1000.0)
    assert rated.seconds([*work, RowWork(9, 0, 4096, False)]) == pytest.approx(0.005)
