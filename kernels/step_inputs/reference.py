"""The same, token by token, on the host."""

import torch
from torch import Tensor


def step_inputs(
    tokens: Tensor, tables: Tensor, rows: Tensor, starts: Tensor, counts: Tensor, sampled: Tensor, block_size: int
) -> tuple[Tensor, ...]:
    """(ids, positions, slots, firsts, lengths, last, drawing, ends)."""
    ids: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    firsts, lengths = [0], []
    for row, start, count in zip(rows.tolist(), starts.tolist(), counts.tolist(), strict=True):
        for p in range(start, start + count):
            ids.append(int(tokens[row, p]) if row >= 0 else 0)
            positions.append(p if row >= 0 else 0)
            slots.append(int(tables[row, p // block_size]) * block_size + p % block_size if row >= 0 else -1)
        firsts.append(len(ids))
        lengths.append(start + count if row >= 0 else 0)
    draws = sampled.tolist()
    last = [firsts[n + 1] - 1 for n in draws]
    made = (ids, positions, slots, firsts, lengths, last, [int(rows[n]) for n in draws], [lengths[n] for n in draws])
    return tuple(torch.tensor(part, dtype=torch.int64 if part is slots else torch.int32) for part in made)
