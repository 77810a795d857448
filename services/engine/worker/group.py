"""The ranks that compute one model together, and the sums and gatherings by which they do.

Tensor parallelism as in Megatron-LM (Shoeybi et al. 2019): a layer's first matrices are split by outputs, its second by
inputs, so a layer needs one sum after attention and one after the feed-forward. Embedding and head are split by the
vocabulary. All ranks draw from the same gathered logits, and so the same ids.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch import distributed as dist


class Group(Protocol):
    rank: int
    size: int

    def sum_(self, x: Tensor) -> Tensor:
        """x of every rank added up, in place."""
        ...

    def gather(self, x: Tensor) -> Tensor:
        """x [...] of every rank -> [size, ...], the same on all."""
        ...

    def least(self, number: int) -> int:
        """The smallest of the ranks' numbers; for start-up."""
        ...

    def leave(self) -> None:
        """Nothing is shared after this."""
        ...


class Alone:
    """One rank has everything."""

    rank, size = 0, 1

    def sum_(self, x: Tensor) -> Tensor:
        return x

    def gather(self, x: Tensor) -> Tensor:
        return x[None]

    def least(self, number: int) -> int:
        return number

    def leave(self) -> None:
        """Nobody is left behind."""


class Ranks:
    """Processes of one machine: NCCL between cards, gloo between CPUs. Blocks until all of them are there."""

    def __init__(self, rank: int, size: int, meeting: Path, device: torch.device, timeout: timedelta) -> None:
        """They meet in the file `meeting`, whose folder is theirs alone. Raises RuntimeError if one does not come."""
        self.rank = rank
        self.size = size
        self._device = device
        backend = "nccl" if device.type == "cuda" else "gloo"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        store = dist.FileStore(str(meeting), size)  # type: ignore[attr-defined]  # exported, but not by its stub
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)

    def sum_(self, x: Tensor) -> Tensor:
        dist.all_reduce(x)
        return x

    def gather(self, x: Tensor) -> Tensor:
        all_of = x.new_empty(self.size, *x.shape)
        dist.all_gather(list(all_of.unbind()), x.contiguous())
        return all_of

    def least(self, number: int) -> int:
        x = torch.tensor([number], dtype=torch.int64, device=self._device)
        dist.all_reduce(x, dist.ReduceOp.MIN)
        return int(x)

    def leave(self) -> None:
        """NCCL's communicator stays until the process ends: captured steps hold on to it, and its end would wait."""
        if self._device.type != "cuda":
            dist.destroy_process_group()
