"""The inputs of a step on a CPU, as `kernel` says, and the tiles of its attention: one pass of a compiled loop."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kernels._loops import COUNT, FIRST, Loop, address, loop, tensor
from kernels.paged_attention.batch import TILE


class StepInputs(NamedTuple):
    """T tokens of N rows, in the order of the packed work; S of the rows draw a token."""

    ids: Tensor  # [T] int32
    positions: Tensor  # [T] int32
    slots: Tensor  # [T] int64: places in the KV cache
    decoding: Tensor  # [D, 4] int32: tiles of attention, of rows with one token
    prefilling: Tensor  # [P, 4] int32: of those with more
    last: Tensor  # [S] int32: which of the T tokens is the last of each row that draws
    drawing: Tensor  # [S] int32: the rows that draw
    ends: Tensor  # [S] int32: the positions of the drawn tokens

    def first(self, rows: int, draws: int) -> "StepInputs":
        """Those of so many rows that compute one token each, of which some draw: a part of these."""
        tokens, drawn = slice(0, rows), slice(0, draws)
        ids, positions, slots, decoding, prefilling, last, drawing, ends = self
        return StepInputs(
            *(ids[tokens], positions[tokens], slots[tokens], decoding[tokens], prefilling),
            *(last[drawn], drawing[drawn], ends[drawn]),
        )


def empty_inputs(tokens: int, singles: int, tiles: int, draws: int) -> StepInputs:
    """Uninitialised: `singles` rows with one token, and `tiles` of the others."""
    sizes = (tokens, tokens, 4 * singles, 4 * tiles, draws, draws, draws)
    ids, positions, decoding, prefilling, *drawn = torch.empty(sum(sizes), dtype=torch.int32).split(sizes)
    slots = torch.empty(tokens, dtype=torch.int64)
    return StepInputs(ids, positions, slots, decoding.view(-1, 4), prefilling.view(-1, 4), *drawn)


def step_inputs(
    tokens: Tensor, tables: Tensor, rows: Tensor, starts: Tensor, counts: Tensor, sampled: Tensor, block_size: int,
    out: StepInputs,
) -> None:  # fmt: skip
    """tokens [R, L], tables [R, W], rows, starts and counts [N], sampled [S]: all int32 and contiguous.

    A tile is (row, query, position, count) of at most TILE queries, as `kernels.paged_attention` takes them.
    """
    _step_inputs(block_size)(
        len(rows),
        len(out.ids),
        *(address(tokens), tokens.shape[1], address(tables), tables.shape[1], len(tokens)),
        *(address(rows), address(starts), address(counts), address(sampled), len(sampled)),
        *map(address, out),
    )


@cache
def _step_inputs(block_size: int) -> Loop:
    def body(words):
        work, length, width, limit = words[COUNT], words[FIRST + 1], words[FIRST + 3], words[FIRST + 4]
        draws, many = words[FIRST + 9], 1 << 30
        tokens = tensor(words, FIRST, (limit, length), np.int32)
        tables = tensor(words, FIRST + 2, (limit, width), np.int32)
        rows, starts = tensor(words, FIRST + 5, (work,), np.int32), tensor(words, FIRST + 6, (work,), np.int32)
        counts, sampled = tensor(words, FIRST + 7, (work,), np.int32), tensor(words, FIRST + 8, (draws,), np.int32)
        ids, positions = tensor(words, FIRST + 10, (many,), np.int32), tensor(words, FIRST + 11, (many,), np.int32)
        slots = tensor(words, FIRST + 12, (many,), np.int64)
        decoding = tensor(words, FIRST + 13, (many, 4), np.int32)
        prefilling = tensor(words, FIRST + 14, (many, 4), np.int32)
        last, drawing = tensor(words, FIRST + 15, (draws,), np.int32), tensor(words, FIRST + 16, (draws,), np.int32)
        ends, after = tensor(words, FIRST + 17, (draws,), np.int32), np.empty(work, np.int64)
        t, singles, tiles = 0, 0, 0
        for n in range(work):
            row, start, count = rows[n], starts[n], counts[n]
            for i in range(count):
                block = np.int64(tables[row, (start + i) // block_size])
                ids[t + i], positions[t + i] = tokens[row, start + i], start + i
                slots[t + i] = block * block_size + (start + i) % block_size
            if count == 1:
                tile = decoding[singles]
                tile[0], tile[1], tile[2], tile[3] = row, t, start, 1
                singles += 1
            else:
                for done in range(0, count, TILE):
                    tile = prefilling[tiles]
                    tile[0], tile[1], tile[2], tile[3] = row, t + done, start + done, min(TILE, count - done)
                    tiles += 1
            t += count
            after[n] = t
        for s in range(draws):
            n = sampled[s]
            last[s], drawing[s], ends[s] = after[n] - 1, rows[n], starts[n] + counts[n]

    return loop(body)


def store(tokens: Tensor, inputs: StepInputs, drawn: Tensor) -> None:
    """tokens [R, L]: the drawn ids [S] int32 take the places at which they were drawn."""
    line = address(tokens), tokens.shape[1], len(tokens), address(inputs.drawing), address(inputs.ends), address(drawn)
    _store()(len(drawn), len(drawn), *line)


@cache
def _store() -> Loop:
    def body(words):
        draws, length, limit = words[COUNT], words[FIRST + 1], words[FIRST + 2]
        tokens = tensor(words, FIRST, (limit, length), np.int32)
        rows, ends = tensor(words, FIRST + 3, (draws,), np.int32), tensor(words, FIRST + 4, (draws,), np.int32)
        drawn = tensor(words, FIRST + 5, (draws,), np.int32)
        for s in range(draws):
            tokens[rows[s], ends[s]] = drawn[s]

    return loop(body)
