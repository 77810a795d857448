"""What a step costs on a card: the arithmetic behind `--device sim`. Knows no clock and no torch.

A roofline (Williams, Waterman, Patterson: "Roofline", 2009) over the two kinds of kernels a decoder has, one after the
other: matrix products read all weights once, attention reads the KV cache of the context; each takes as long as its
bytes or its operations need, whichever is longer. To that comes what a step costs whatever is in it.

Not in it: activations, sliding windows (they read less), and that kernels reach their limits only when they are large.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.engine.core.step import RowWork
from services.engine.worker.models.config import ModelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU by its limits. An H200 as measured: 4.3e12, 790e12 (its data sheet says 4.8e12 and 989e12), 141e9, 5e-4."""

    bandwidth: float  # bytes read per second
    flops: float  # operations per second on dense bf16 matrices
    memory: float  # bytes
    overhead_s: float  # seconds of a step whatever is in it: launches, and the gaps between kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """One model on one card. `speed` divides every time; a `tokens_per_second` above 0 replaces all the arithmetic."""

    card: Card
    body: int  # parameters that every computed token meets
    head: int  # parameters of the output matrix, which only positions that draw a token meet
    attention: int  # operations for one token and one position that it sees
    kv_bytes: int  # of one position, all layers
    itemsize: int  # bytes of one parameter
    speed: float = 1.0
    tokens_per_second: float = 0.0  # drawn tokens of all rows together; prefills are free then

    @property
    def weight_bytes(self) -> int:
        return (self.body + self.head) * self.itemsize

    def seconds(self, work: Sequence[RowWork]) -> float:
        """How long the card takes for one step of this work."""
        if self.tokens_per_second:
            return sum(row.samples for row in work) / self.tokens_per_second
        tokens = drawn = positions = pairs = 0
        for row in work:
            end = row.start + row.count
            tokens += row.count
            drawn += row.samples
            positions += end
            pairs += row.count * (row.start + end + 1) // 2  # each token sees itself and all before it
        card = self.card
        products = max(self.weight_bytes / card.bandwidth, 2 * (self.body * tokens + self.head * drawn) / card.flops)
        attention = max(self.kv_bytes * positions / card.bandwidth, self.attention * pairs / card.flops)
        return (card.overhead_s + products + attention) / self.speed

    def blocks(self, block_size: int, share: float) -> int:
        """How many KV blocks `share` of the memory holds beside the weights; 0 where not even those fit."""
        free = max(0.0, self.card.memory * share - self.weight_bytes)
        return int(free // (block_size * self.kv_bytes))


def cost_model(
    model: ModelConfig, card: Card, itemsize: int, *, speed: float = 1.0, tokens_per_second: float = 0.0
) -> CostModel:
    """What is counted follows from config.json alone; an embedding that is not the output matrix is read by the row."""
    head = model.vocab_size * model.hidden_size
    return CostModel(
        card=card,
        body=model.num_parameters - head * (1 if model.tied else 2),
        head=head,
        attention=4 * model.num_layers * model.num_heads * model.head_dim,  # q.k and p.v, a multiply and an add each
        kv_bytes=2 * model.num_layers * model.num_kv_heads * model.head_dim * itemsize,
        itemsize=itemsize,
        speed=speed,
        tokens_per_second=tokens_per_second,
    )
