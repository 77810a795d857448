"""A plan survives being packed, and the packed block is small and complete."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.core.step import RowAdd, RowBlocks, RowWork, StepPlan
from services.engine.worker.columns import Column
from services.engine.worker.pack import Packer, carve
from shared.types import SamplingParams
from tests.unit.engine.worker.steps import header_of

WIDTH, VOCABULARY = 8, 100
GREEDY = SamplingParams(max_tokens=4, temperature=0)


def test_a_packed_plan_holds_what_the_plan_said() -> None:
    """Every part of the block, carved by the header that the block itself begins with."""
    warm = SamplingParams(
        max_tokens=9, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, seed=2**63 + 5, presence_penalty=0.25,
        frequency_penalty=-0.5, repetition_penalty=1.5, min_tokens=3, stop_ids=(4, 5, 10**12),
    )  # fmt: skip
    added = (RowAdd(2, (11, 12, 13), 2, (6, 3), warm), RowAdd(0, (14,), 1, (9,), GREEDY))
    work = (RowWork(2, 1, 2, True), RowWork(0, 0, 1, True))
    packed = Packer(WIDTH, VOCABULARY).pack(StepPlan(41, (), added, (RowBlocks(2, 2, (7, 8)),), work))
    parts = carve(packed.buffer, header_of(packed))
    rows = parts.added.reshape(2, len(Column))
    assert header_of(packed) == packed.header
    assert packed.header.step == 41
    assert rows[:, : Column.SEED_LOW].tolist() == [[2, 3, 2, 2, 5, 2, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0, 0]]
    assert rows[0, Column.SEED_LOW : Column.TOP_K].astype(np.uint32).tolist() == [5, 2**31]
    assert rows[:, Column.TOP_K].tolist() == [7, 0]
    assert np.allclose(rows[0, Column.TEMPERATURE :].view(np.float32), (0.5, 0.9, 0.1, 0.25, -0.5, 1.5))
    assert rows[1, Column.TOP_P : Column.TOP_P + 1].view(np.float32).tolist() == [np.inf]
    assert parts.tokens.tolist() == [11, 12, 13, 14]
    assert parts.lists.tolist() == [4, 5]  # an id that cannot be drawn need not be forbidden
    assert parts.block_at.tolist() == [16, 17, 0, 18, 19]
    assert parts.block_ids.tolist() == [6, 3, 9, 7, 8]
    assert (parts.rows.tolist(), parts.starts.tolist(), parts.counts.tolist()) == ([0, 2], [0, 1], [1, 2])
    assert parts.sampled.tolist() == [0, 1]  # greedy before top-k
    assert (parts.penalised.tolist(), parts.steered.tolist()) == ([1], [1])
    assert packed.in_plan_order([50, 60]) == (60, 50)


def test_rows_keep_their_parameters_until_they_are_given_away() -> None:
    """Later plans name only the row; a row given to another request samples as that one asks."""
    packer = Packer(WIDTH, VOCABULARY)
    top_p = SamplingParams(max_tokens=4, top_p=0.5)
    packer.pack(StepPlan(0, (), (RowAdd(1, (5,), 1, (0,), top_p),), (), (RowWork(1, 0, 1, True),)))
    assert packer.pack(StepPlan(1, (), (), (), (RowWork(1, 1, 1, True),))).header.nucleus == 1
    again = RowAdd(1, (5,), 1, (0,), GREEDY)
    header = packer.pack(StepPlan(2, (1,), (again,), (), (RowWork(1, 0, 1, True),))).header
    assert (header.greedy, header.nucleus) == (1, 0)


def test_scores_cost_a_step_what_its_own_rows_want() -> None:
    """A prompt is probed up to its last token but one; behind it, its wish for many makes nobody else's larger. A row
    that comes back with output has told its prompt."""
    packer = Packer(WIDTH, VOCABULARY)
    probed = RowAdd(0, (11, 12, 13, 14), 4, (9,), SamplingParams(max_tokens=4, prompt_logprobs=20))
    scored = RowAdd(1, (15,), 1, (8,), SamplingParams(max_tokens=4, logprobs=0))
    work = (RowWork(0, 0, 3, samples=False), RowWork(1, 0, 1, samples=True))
    first = packer.pack(StepPlan(0, (), (probed, scored), (), work))
    parts = carve(first.buffer, first.header)
    assert (parts.probed.tolist(), parts.targets.tolist(), parts.scored.tolist()) == ([1, 2, 3], [12, 13, 14], [0])
    assert (first.header.most_scores, first.header.results) == (20, 1 + 4 * 42)
    later = packer.pack(StepPlan(1, (), (), (), (RowWork(0, 3, 1, samples=True), RowWork(1, 1, 1, samples=True))))
    assert (later.header.probed, later.header.most_scores, later.header.results) == (0, 0, 2 + 2)
    again = RowAdd(0, (11, 12, 13, 14, 15), 4, (9,), probed.sampling)
    back = packer.pack(StepPlan(2, (0,), (again,), (), (RowWork(0, 0, 5, samples=True),)))
    assert (back.header.probed, back.header.results) == (0, 1)


def test_a_steady_step_of_256_rows_stays_below_8_kib() -> None:
    """Rows that decode cost the same few bytes wherever they stand; here every sixteenth gets a block too."""
    sizes = []
    for start in (10, 30_000):
        packer = Packer(4096, VOCABULARY)
        added = tuple(RowAdd(row, (1,), 1, (row,), GREEDY) for row in range(256))
        packer.pack(StepPlan(0, (), added, (), tuple(RowWork(row, 0, 1, True) for row in range(256))))
        blocks = tuple(RowBlocks(row, start // 16, (9,)) for row in range(0, 256, 16))
        work = tuple(RowWork(row, start + row, 1, True) for row in range(256))
        sizes.append(packer.pack(StepPlan(1, (), (), blocks, work)).buffer.nbytes)
    assert sizes[0] == sizes[1] < 8192


KINDS = (
    GREEDY,
    SamplingParams(max_tokens=4),
    SamplingParams(max_tokens=4, top_k=3),
    SamplingParams(max_tokens=4, top_p=0.3),
    SamplingParams(max_tokens=4, presence_penalty=1.0),
)
WORK = st.tuples(st.integers(0, 400), st.integers(1, 5), st.booleans(), st.sampled_from(KINDS))


@settings(max_examples=100, deadline=None)
@given(st.lists(WORK, min_size=1, max_size=12))
def test_drawn_ids_come_back_in_the_order_of_the_plan(rows: list[tuple[int, int, bool, SamplingParams]]) -> None:
    """However work and draws are sorted for the device, id k belongs to the k-th work that samples."""
    packer = Packer(512, VOCABULARY)
    added = tuple(RowAdd(row, (1,), 1, (), kind) for row, (_, _, _, kind) in enumerate(rows))
    work = tuple(RowWork(row, start, count, samples) for row, (start, count, samples, _) in enumerate(rows))
    packed = packer.pack(StepPlan(0, (), added, (), work))
    parts = carve(torch.from_numpy(packed.buffer), packed.header)
    assert packed.header.sampled == sum(w.samples for w in work)
    assert sorted(parts.rows.tolist()) == sorted(w.row for w in work)
    single = [start for start, count in zip(parts.starts.tolist(), parts.counts.tolist(), strict=True) if count == 1]
    assert single == sorted(single)
    assert parts.counts.tolist()[: len(single)] == [1] * len(single)
    drawn = parts.rows[parts.sampled].tolist()  # each draws the number of its row
    assert list(packed.in_plan_order(drawn)) == [w.row for w in work if w.samples]
