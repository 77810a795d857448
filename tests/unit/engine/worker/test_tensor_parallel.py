"""A model that ranks share: what each reads, and that together they compute what one computes alone.

The ranks are threads here, which meet at barriers; tests/truth has them as processes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import Tensor

from services.engine.worker import weights
from services.engine.worker.group import Alone, Group
from services.engine.worker.layers.norm import RMSNorm
from services.engine.worker.layers.ops import Norm, cpu_ops
from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.models.config import model_config
from services.engine.worker.models.decoder import Decoder
from shared.checkpoint import read_config
from shared.errors import ConfigError
from tests.checkpoints import build

KINDS = ("qwen3", "llama-biased", "qwen2")


class Table:
    """Where the ranks of one group put what they share."""

    def __init__(self, size: int) -> None:
        self.barrier = Barrier(size, timeout=30)
        self.places: list[Any] = [None] * size


class Seat:
    """One rank's end of a table; see `group.Group`."""

    def __init__(self, rank: int, table: Table) -> None:
        self.rank = rank
        self.size = len(table.places)
        self._table = table

    def sum_(self, x: Tensor) -> Tensor:
        return x.copy_(self.gather(x).sum(0))

    def gather(self, x: Tensor) -> Tensor:
        return torch.stack(self._all(x.clone()))

    def least(self, number: int) -> int:
        return int(min(self._all(number)))

    def leave(self) -> None:
        """The table stays."""

    def _all(self, mine: Any) -> list[Any]:
        self._table.places[self.rank] = mine
        self._table.barrier.wait()
        everybody = list(self._table.places)
        self._table.barrier.wait()
        return everybody


class Local:
    """An attention without a cache: each token sees itself, so its value comes out, for each head that shares it."""

    def __init__(self, heads: int, kv_heads: int, dim: int) -> None:
        self._sizes = [heads * dim, kv_heads * dim, kv_heads * dim]
        self._sharing, self._dim = heads // kv_heads, dim

    def __call__(self, qkv: Tensor, cache: Tensor, norm: Norm | None, window: int | None) -> Tensor:
        queries, _, values = torch.split(qkv, self._sizes, dim=1)
        if norm is not None:
            queries = queries * norm.weight[:1, 0].mean()
        values = values.view(len(qkv), -1, self._dim).repeat_interleave(self._sharing, dim=1).flatten(1)
        return torch.mul(values, queries.sigmoid())


def on_cpu(group: Group) -> Parameters:
    return Parameters(torch.device("cpu"), torch.float32, cpu_ops(torch.float32, parameters=0), group)


def logits(folder: Path, group: Group) -> Tensor:
    model = Decoder(
        model_config(read_config(folder)),
        on_cpu(group),
    )
    weights.load(folder, model.parameters.places, tied=model.config.tied)
    model.parameters.loaded()
    config = model.config
    attend = Local(config.num_heads, config.num_kv_heads, config.head_dim)
    ids = torch.tensor([0, 1, 511, 512, 513, 1023], dtype=torch.int32)
    with torch.inference_mode():
        return model.logits(model.forward(ids, attend, [torch.empty(0)] * config.num_layers))


def together(size: int, work: Callable[[Group], Tensor]) -> list[Tensor]:
    table = Table(size)
    with ThreadPoolExecutor(size) as ranks:
        return list(ranks.map(work, [Seat(rank, table) for rank in range(size)]))


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_compute_what_one_computes_alone(kind: str, tmp_path: Path) -> None:
    """Biases are added once, norms are everybody's, and both ranks see the same logits to the last bit."""
    folder = build(kind, tmp_path)
    alone = logits(folder, Alone())
    first, second = together(2, lambda group: logits(folder, group))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, alone, rtol=1e-4, atol=1e-4)


def test_a_rank_reads_its_part_of_each_file_and_nothing_else(qwen3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of every matrix; only what all ranks need whole, the norms, is read by both."""
    read: dict[str, int] = {}
    tensors = weights._tensors

    class Spy:
        def __init__(self, name: str, stored: Any) -> None:
            self._name, self._stored = name, stored

        def __getitem__(self, part: Any) -> Tensor:
            tensor: Tensor = self._stored[part]
            read[self._name] = read.get(self._name, 0) + tensor.numel()
            return tensor

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stored, name)

    monkeypatch.setattr(weights, "_tensors", lambda file: ((name, Spy(name, stored)) for name, stored in tensors(file)))
    model = Decoder(
        model_config(read_config(qwen3)),
        on_cpu(Seat(1, Table(2))),
    )
    weights.load(qwen3, model.parameters.places, tied=model.config.tied)
    whole = {
        name: torch.tensor(stored.get_shape()).prod().item()
        for file in weights._files(qwen3)
        for name, stored in tensors(file)
    }
    assert {name: size if "norm" in name else size // 2 for name, size in whole.items()} == read


def test_a_vocabulary_that_does_not_come_out_even_is_filled_up(tmp_path: Path) -> None:
    """Three ranks and 1024 ids: the last has fewer rows, and nobody draws an id that is none."""
    from services.engine.worker.layers.vocabulary import Vocabulary

    matrix, x = torch.randn(1024, 8), torch.randn(5, 8)
    ones = RMSNorm(on_cpu(Alone()), "norm", 8, 1e-5)
    ones.weight.fill_(1.0)
    ids = torch.tensor([0, 341, 342, 700, 1023], dtype=torch.int32)

    def part(group: Group) -> Tensor:
        parameters = on_cpu(group)
        vocabulary = Vocabulary(parameters, "head", 1024, 8)
        place = parameters.places["head"]
        place.target.copy_(matrix[place.part])
        vocabulary.pack(parameters.ops, looked_up=True)
        logits = vocabulary.logits(x, ones)
        assert logits.is_contiguous()  # what is drawn from is read by loops
        return torch.cat((vocabulary.embed(ids).flatten(), logits.flatten()))

    whole = torch.cat((matrix[ids].flatten(), (ones(x) @ matrix.t()).flatten()))
    for rank in together(3, part):
        torch.testing.assert_close(rank, whole)


def test_heads_that_cannot_be_shared_evenly_are_refused(qwen3: Path) -> None:
    """The message names the flag and what it does not divide."""
    with pytest.raises(ConfigError, match="--tensor-parallel 3 does not divide the model's num_heads, 4"):
        model_config(read_config(qwen3)).of_rank(3)
