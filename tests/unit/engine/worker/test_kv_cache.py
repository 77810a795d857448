"""How many blocks there are, and what happens when there is no memory for them."""

import pytest
import torch

from services.engine.worker import kv_cache
from services.engine.worker.device import Memory
from services.engine.worker.models.config import model_config
from shared.errors import ConfigError
from tests.unit.engine.worker.test_model_config import LLAMA

MODEL = model_config(LLAMA | {"num_key_value_heads": 2})  # a block of 16: 16 * 2 * 2 * 16 elements in each of 4 layers
BLOCK = 16 * 2 * 2 * 16 * 4 * 4


def test_blocks_fill_the_memory_but_never_exceed_what_rows_can_use() -> None:
    """Memory bounds a large machine's cache, rows and context a small model's."""

    def blocks(memory: int, dtype: torch.dtype = torch.float32) -> int:
        return kv_cache.num_blocks(MODEL, 16, rows=3, max_model_len=100, memory=memory, dtype=dtype)

    assert blocks(10 * BLOCK + 1) == 10
    assert blocks(5 * BLOCK, torch.bfloat16) == 10
    assert blocks(1000 * BLOCK) == 3 * 7
    with pytest.raises(ConfigError, match="no memory for a KV cache"):
        blocks(BLOCK)


def test_the_cache_has_a_tensor_for_each_layer() -> None:
    """Finite from the start: masked scores are multiplied, not skipped."""
    caches = kv_cache.allocate(MODEL, 5, 16, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert [tuple(cache.shape) for cache in caches] == [(5, 16, 2, 2, 16)] * 4
    assert not any(cache.any() for cache in caches)
    assert caches[0].nbytes == 5 * kv_cache.block_bytes(MODEL, 16, torch.bfloat16)


def test_a_cache_that_does_not_fit_says_which_flag_to_lower() -> None:
    """Out of memory is an answer at start, not a crash later."""
    with pytest.raises(ConfigError, match=r"out of memory for a KV cache .* lower --kv-blocks"):
        kv_cache.allocate(MODEL, 2**42, 16, device=torch.device("cpu"), dtype=torch.float32)


def test_spare_memory_is_a_part_of_what_is_free() -> None:
    """On a CPU twice what the weights take, or half a GiB; never more than the rank's part of a quarter."""
    least, quarter = kv_cache.spare_host_memory(0), kv_cache.spare_host_memory(1 << 60)
    assert 0 < least <= kv_cache.CPU_LEAST <= quarter
    assert least <= kv_cache.spare_host_memory(kv_cache.CPU_LEAST) <= 2 * kv_cache.CPU_LEAST
    assert kv_cache.spare_host_memory(1 << 60, ranks=4) <= quarter // 3


def test_a_card_s_spare_memory_is_its_share_less_the_worst_moment_and_what_captured_steps_keep() -> None:
    """Ten units of memory, nine of which may be taken; six were at the worst moment."""
    assert kv_cache.spare_card_memory(Memory(total=10 << 20, most_taken=6 << 20), 0.9, 1 << 20) == 2 << 20
    assert kv_cache.spare_card_memory(Memory(total=10 << 20, most_taken=10 << 20), 0.9, 0) < 0
