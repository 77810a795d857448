"""A step by kernels against the same step by the worker's torch path: the same inputs, the same tokens."""

from itertools import accumulate
from typing import Any

import pytest
import torch

from kernels.draw.kernel import KNOBS, draw
from kernels.penalties.kernel import penalise
from kernels.row_update.kernel import Sizes, row_update
from kernels.steer.kernel import COLUMNS, steer
from kernels.step_inputs.kernel import StepInputs, empty_inputs, step_inputs
from services.engine.core.step import RowAdd, RowWork, StepPlan
from services.engine.worker.batch import Batch
from services.engine.worker.columns import Column
from services.engine.worker.pack import Packer, carve
from services.engine.worker.rows import Rows
from services.engine.worker.sampler import Sampler
from shared.types import SamplingParams
from tests.kernels.harness import CPU, frame_is_whole, framed

VOCAB, WIDTH, BLOCK = 1009, 20, 16
SAMPLING: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0},
    {"seed": 3},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "seed": 2**64 - 1},
    {"temperature": 1.4, "top_p": 0.8, "seed": 5},
    {"temperature": 2.0, "min_p": 0.05, "seed": 7},
    {"presence_penalty": 0.7, "frequency_penalty": 0.2, "seed": 9},
    {"repetition_penalty": 1.3, "temperature": 0.0},
    {"repetition_penalty": 0.9, "top_k": 5, "seed": 1 << 40},
    {"min_tokens": 400, "stop_ids": tuple(range(VOCAB - 10)), "seed": 11},
    {"min_tokens": 1, "stop_ids": (3, 4), "temperature": 0.0},
    {"bias_ids": tuple(range(0, VOCAB, 2)), "biases": (-100.0,) * 505, "seed": 13, "repetition_penalty": 1.2},
    {"allowed_ids": tuple(range(7, 90)), "bias_ids": (7, 999), "biases": (2.5, 50.0), "seed": 15, "top_p": 0.9},
    {"banned": ((5,), (6, 7), *((a, b, c) for a in range(3) for b in range(4) for c in range(7))), "seed": 17},
)


def plan(seed: int) -> StepPlan:
    """Rows of every way to sample: some decode, some bring chunks, one of which is not its last."""
    dice = torch.Generator().manual_seed(seed)
    added, work = [], []
    for row, how in enumerate(SAMPLING):
        length = int(torch.randint(2, 300, (1,), generator=dice))
        tokens = tuple(torch.randint(0, 60, (length,), generator=dice).tolist())
        blocks = tuple(range(row * WIDTH, row * WIDTH + -(-length // BLOCK)))
        added.append(RowAdd(row, tokens, length // 2, blocks, SamplingParams(max_tokens=9, **how)))
        start = length - 1 if row % 3 else length // 3
        count = length - start - (1 if row == 6 and length - start > 1 else 0)
        work.append(RowWork(row, start, count, start + count == length))
    return StepPlan(0, (), tuple(added), (), tuple(work))


@pytest.mark.parametrize("seed", range(3))
def test_kernels_draw_what_the_worker_draws(seed: int) -> None:
    """From the packed difference to the drawn ids, and the ids in their rows."""
    packed = Packer(WIDTH, VOCAB).pack(plan(seed))
    header, host = packed.header, carve(packed.buffer, packed.header)
    parts = carve(torch.from_numpy(packed.buffer), header)
    batch = Batch(len(SAMPLING), WIDTH * BLOCK, BLOCK, CPU)
    batch.apply(parts, host, header)
    want = batch.inputs(parts, host, header)
    logits = torch.randn(header.sampled, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3
    by_kernels = logits.clone()

    mine = Rows(len(SAMPLING), WIDTH * BLOCK, BLOCK, VOCAB, CPU)
    rows, starts, counts = (torch.empty(header.work, dtype=torch.int32) for _ in range(3))
    sampled = torch.empty(header.sampled, dtype=torch.int32)
    tensors = (mine.tokens, mine.tables, mine.parameters, mine.lists, rows, starts, counts, sampled)
    sizes = Sizes(len(header), header.added, header.tokens, header.listed, header.blocks, header.work, header.sampled)
    block = torch.from_numpy(packed.buffer)
    row_update(block, *tensors, sizes)
    out = empty_inputs(int(host.counts.sum()), header.work, header.sampled, CPU)
    got = step_inputs(mine.tokens, mine.tables, rows, starts, counts, sampled, BLOCK, out)

    for name in ("ids", "positions", "slots", "last", "drawing", "ends"):
        assert torch.equal(getattr(got, name), getattr(want, name)), name
    assert got.firsts.tolist() == [0, *accumulate(host.counts.tolist())]
    assert got.lengths.tolist() == (host.starts + host.counts).tolist()

    drawn = Sampler(VOCAB)(logits, batch, want, parts, header)
    batch.store(want, drawn)
    columns = mine.parameters
    steer(by_kernels, mine.lists, columns[:, Column.PROMPT_LEN : Column.SEED_LOW], mine.tokens, got.drawing, got.ends)
    penalise(
        by_kernels, mine.tokens, columns[:, Column.PRESENCE :], got.drawing, got.ends, columns[:, Column.PROMPT_LEN],
        torch.zeros(header.sampled, VOCAB, dtype=torch.int32),
    )  # fmt: skip
    first = int(Column.SEED_LOW)
    draw(
        by_kernels, columns[:, first : first + KNOBS], got.drawing, got.ends, tokens=mine.tokens, out=(ids := drawn * 0)
    )
    assert torch.equal(ids, drawn)
    assert torch.equal(mine.tokens, batch.tokens)


def test_the_columns_of_a_row_are_those_that_the_kernels_read() -> None:
    """The launchers are given slices of the worker's parameters, so their order must not change unnoticed."""
    drawn = ("SEED_LOW", "SEED_HIGH", "TOP_K", "TEMPERATURE", "TOP_P", "MIN_P")
    assert tuple(Column(Column.SEED_LOW + i).name for i in range(KNOBS)) == drawn
    assert [column.name for column in Column][Column.PRESENCE :] == ["PRESENCE", "FREQUENCY", "REPETITION"]
    steered = ["PROMPT_LEN", "FREE_FROM", "STOPS", "BIASES", "ALLOWED", "BANNED"]
    assert [Column(Column.PROMPT_LEN + i).name for i in range(COLUMNS)] == steered


def test_padding_touches_no_row_and_no_slot() -> None:
    """A row below 0 is what a captured graph is filled up with. The outputs lie between guards."""
    frames = [framed((n,), torch.int64 if i == 2 else torch.int32) for i, n in enumerate((5, 5, 5, 5, 4, 2, 2, 2))]
    tokens = torch.arange(40, dtype=torch.int32).view(2, 20)
    tables = torch.tensor([[3, 1], [5, 2]], dtype=torch.int32)
    rows, starts, counts, sampled = (
        torch.tensor(v, dtype=torch.int32) for v in ([1, -1, 0, -1], [15, 9, 4, 0], [2, 1, 1, 1], [1, 0])
    )
    out = StepInputs(*(view for _, view in frames))
    step_inputs(tokens, tables, rows, starts, counts, sampled, 16, out)
    assert out.ids.tolist() == [35, 36, 0, 4, 0]
    assert out.positions.tolist() == [15, 16, 0, 4, 0]
    assert out.slots.tolist() == [5 * 16 + 15, 2 * 16, -1, 3 * 16 + 4, -1]
    assert (out.firsts.tolist(), out.lengths.tolist()) == ([0, 2, 3, 4, 5], [17, 0, 5, 0])
    assert (out.last.tolist(), out.drawing.tolist(), out.ends.tolist()) == ([2, 1], [-1, 1], [0, 17])
    assert all(frame_is_whole(whole) for whole, _ in frames)


def test_step_inputs_refuses() -> None:
    """Outputs of another length, ids of another type."""
    at = torch.zeros(2, dtype=torch.int32)
    tokens, tables = torch.zeros(2, 9, dtype=torch.int32), torch.zeros(2, 1, dtype=torch.int32)
    with pytest.raises(ValueError, match="out"):
        step_inputs(tokens, tables, at, at, at, at, 16, empty_inputs(2, 3, 2, CPU))
    with pytest.raises(ValueError, match="int32"):
        step_inputs(tokens.long(), tables, at, at, at, at, 16, empty_inputs(2, 2, 2, CPU))
