"""The rows of the device: what a step changes in them, and what the model is given."""

import torch

from services.engine.core.step import RowAdd, RowBlocks, RowWork, StepPlan
from shared.types import SamplingParams
from tests.unit.engine.worker.steps import BLOCK, Bench

SAMPLING = SamplingParams(max_tokens=4, temperature=0)


def test_the_model_is_given_ids_positions_and_places_in_the_cache() -> None:
    """One row that decodes and one chunk: tokens in packed order, slots through the block tables."""
    bench = Bench(rows=3, vocab_size=50)
    added = (RowAdd(2, (10, 11, 12, 13, 14, 15), 6, (7, 3), SAMPLING), RowAdd(0, (20, 21), 2, (5,), SAMPLING))
    plan = StepPlan(0, (), added, (), (RowWork(2, 2, 4, True), RowWork(0, 1, 1, True)))
    packed, _, inputs = bench.take(plan)
    assert inputs.ids.tolist() == [21, 12, 13, 14, 15]
    assert inputs.positions.tolist() == [1, 2, 3, 4, 5]
    assert inputs.slots.tolist() == [5 * BLOCK + 1, 7 * BLOCK + 2, 7 * BLOCK + 3, 3 * BLOCK, 3 * BLOCK + 1]
    assert inputs.decoding.tolist() == [[0, 0, 1, 1]]
    assert inputs.prefilling.tolist() == [[2, 1, 2, 4]]
    assert [packed.order[k] for k in range(2)] == [0, 1]
    assert dict(zip(inputs.drawing.tolist(), inputs.last.tolist(), strict=True)) == {2: 4, 0: 0}
    assert dict(zip(inputs.drawing.tolist(), inputs.ends.tolist(), strict=True)) == {2: 6, 0: 2}


def test_a_drawn_id_is_read_by_the_next_step_without_the_host() -> None:
    """The next plan names only row and position; the id comes from where `store` put it."""
    bench = Bench(rows=2, vocab_size=50)
    add = RowAdd(1, (8, 9), 2, (4,), SAMPLING)
    _, _, inputs = bench.take(StepPlan(0, (), (add,), (), (RowWork(1, 0, 2, True),)))
    bench.batch.store(inputs, torch.tensor([33], dtype=torch.int32))
    _, _, inputs = bench.take(StepPlan(1, (), (), (), (RowWork(1, 2, 1, True),)))
    assert inputs.ids.tolist() == [33]


def test_a_row_sent_again_keeps_the_id_that_is_in_flight() -> None:
    """Stateless plans send what is known; the id drawn by the step before is not, and stays in the row."""
    bench = Bench(rows=1, vocab_size=50)
    _, _, inputs = bench.take(StepPlan(0, (), (RowAdd(0, (8, 9), 2, (4,), SAMPLING),), (), (RowWork(0, 0, 2, True),)))
    bench.batch.store(inputs, torch.tensor([33], dtype=torch.int32))
    again = RowAdd(0, (8, 7), 2, (6,), SAMPLING)
    _, _, inputs = bench.take(StepPlan(1, (), (again,), (), (RowWork(0, 1, 2, True),)))
    assert inputs.ids.tolist() == [7, 33]
    assert inputs.slots.tolist() == [6 * BLOCK + 1, 6 * BLOCK + 2]


def test_blocks_are_appended_where_the_plan_says() -> None:
    """A row's table grows in place, in several plans, and other rows' tables stay as they are."""
    bench = Bench(rows=3, vocab_size=50)
    added = tuple(RowAdd(row, (1,) * 4, 4, (10 + row,), SAMPLING) for row in range(3))
    bench.take(StepPlan(0, (), added, (), tuple(RowWork(row, 0, 4, False) for row in range(3))))
    more = (RowBlocks(1, 1, (20, 21)), RowBlocks(2, 1, (22,)))
    bench.take(StepPlan(1, (), (), more, (RowWork(1, 4, 1, False),)))
    bench.take(StepPlan(2, (), (), (RowBlocks(1, 3, (23,)),), (RowWork(1, 5, 1, False),)))
    assert bench.batch.tables[:, :4].tolist() == [[10, 0, 0, 0], [11, 20, 21, 23], [12, 22, 0, 0]]
