"""The same, part by part, on the host."""

import torch
from torch import Tensor

from kernels.row_update.kernel import Sizes


def row_update(
    block: Tensor,
    tokens: Tensor,
    tables: Tensor,
    parameters: Tensor,
    lists: Tensor,
    rows: Tensor,
    starts: Tensor,
    counts: Tensor,
    sampled: Tensor,
    sizes: Sizes,
    *,
    pad_count: int = 1,
) -> None:
    """Changes everything but the block, in place."""
    C = parameters.shape[1]
    parts = [
        sizes.skip,
        sizes.added * C,
        sizes.tokens,
        sizes.listed,
        *[sizes.blocks] * 2,
        *[sizes.work] * 3,
        sizes.draws,
    ]
    _, added, ids, listed, places, blocks, *given = torch.split(block[: sum(parts)], parts)
    for columns in added.view(-1, C):
        row, length, count = columns[:3].tolist()
        parameters[row] = columns
        tokens[row, :length], ids = ids[:length], ids[length:]
        lists[row, :count], listed = listed[:count], listed[count:]
    tables.view(-1)[places.long()] = blocks
    padding = (-1, 0, pad_count, len(rows) - 1)
    for out, part, pad in zip((rows, starts, counts, sampled), given, padding, strict=True):
        out[: len(part)] = part
        out[len(part) :] = torch.tensor(pad)
