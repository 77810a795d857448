"""The least time the workload can take on a card whose memory reads and whose matrix units multiply this fast.

With P the weights of the layers, H those of the output matrix (bf16, 2 bytes each), b requests in a step, and for each
of them the n keys and values it sees, of k = 2 x layers x kv heads x head dim x 2 bytes:

    prefill = (2 P tokens + 2 H requests + 2 layers heads head_dim sum(prompt^2)) / product    (causal: half)
    step    = max(2 (P + H) / read, 2 (P + H) b / product) + k sum(n) / read
    ceiling = tokens out / (prefill + sum of steps)

All requests start together; the first token of each comes out of the prefill. Nothing else is counted: no activations,
no sampling, no launches, no host. At 4.8 TB/s and 790 TFLOP/s that is 40,051 tokens/s for Qwen3-0.6B, 8,564 for
Qwen3-14B and 14,185 for Llama-3-8B.
"""

from collections.abc import Sequence
from typing import NamedTuple

from services.engine.worker.models.config import ModelConfig
from tools.gpu_check.workload import Ask, tokens_out

BYTES = 2  # of bf16


class Roofs(NamedTuple):
    read: float  # bytes per second
    product: float  # bf16 operations per second


class Ceiling(NamedTuple):
    prefill_s: float
    decode_s: float
    tokens_per_s: float


def ceiling(model: ModelConfig, asks: Sequence[Ask], roofs: Roofs) -> Ceiling:
    head = model.vocab_size * model.hidden_size
    layers = model.num_parameters - head * (1 if model.tied else 2)
    squares = sum(len(ask.prompt) ** 2 for ask in asks)
    attention = 2 * model.num_layers * model.num_heads * model.head_dim * squares
    linear = 2 * layers * sum(len(ask.prompt) for ask in asks) + 2 * head * len(asks)
    prefill_s = (linear + attention) / roofs.product
    decode_s = sum(step_seconds(layers + head, key_bytes(model), batch, keys, roofs) for batch, keys in _steps(asks))
    return Ceiling(prefill_s, decode_s, tokens_out(asks) / (prefill_s + decode_s))


def key_bytes(model: ModelConfig) -> int:
    """Of the key and the value of one token, in all layers."""
    return 2 * model.num_layers * model.num_kv_heads * model.head_dim * BYTES


def step_seconds(weights: int, per_key: int, batch: int, keys: int, roofs: Roofs) -> float:
    """One decode step of `batch` requests that see `keys` tokens together."""
    return max(BYTES * weights / roofs.read, 2 * weights * batch / roofs.product) + per_key * keys / roofs.read


def _steps(asks: Sequence[Ask]) -> "list[tuple[int, int]]":
    """(requests, keys they see) of each decode step. In step t a request sees its prompt and t + 1 tokens more."""
    steps = []
    for t in range(max((ask.tokens for ask in asks), default=0) - 1):
        seen = [len(ask.prompt) + t + 1 for ask in asks if ask.tokens > t + 1]
        steps.append((len(seen), sum(seen)))
    return steps
