"""Embedding and head: one row for each id of the vocabulary, of which each rank has its range."""

import torch
from torch import Tensor

from services.engine.worker.layers.ops import Ops
from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.layers.product import Product, RowNorm


class Vocabulary:
    """Rows [first, first + n) of a checkpoint's matrix [vocab, H]; the last rank's are filled up with zeros."""

    def __init__(self, parameters: Parameters, name: str, vocab_size: int, hidden_size: int) -> None:
        self._group = group = parameters.group
        self._size = vocab_size
        self._rows = -(-vocab_size // group.size)
        self._first = group.rank * self._rows
        self._weight = parameters.new(self._rows, hidden_size)
        self._product: Product
        kept = min(self._rows, vocab_size - self._first)
        self._weight[kept:].zero_()
        parameters.place_part(name, self._weight[:kept], 0, vocab_size, self._first)

    def pack(self, ops: Ops, *, looked_up: bool) -> None:
        """For `logits`; if rows are `looked_up` too, the matrix stays as it was loaded."""
        self._product = ops.product(self._weight, None)
        if not looked_up:
            self._weight = self._weight.new_empty(0)

    def embed(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """ids [T] int32 -> [T, H]; into `out`, if it is given."""
        if self._group.size == 1:
            return torch.index_select(self._weight, 0, ids, out=out)
        local = ids - self._first
        other = (local < 0) | (local >= self._rows)
        x = torch.index_select(self._weight, 0, local.masked_fill(other, 0), out=out).masked_fill_(other[:, None], 0)
        return self._group.sum_(x)

    def logits(self, x: Tensor, norm: RowNorm, out: Tensor | None = None) -> Tensor:
        """x [S, H], normed -> [S, vocab], float32, the same on every rank; into `out`, if it is given."""
        y = self._product(x, norm, wide=out is None and self._group.size == 1)
        if self._group.size > 1:
            y = self._group.gather(y).transpose(0, 1).flatten(1)[:, : self._size]
        return y.float().contiguous() if out is None else out.copy_(y)
