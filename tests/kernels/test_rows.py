"""What a step brings into the rows of the device."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kernels._case import Source
from kernels.row_update import kernel, reference
from kernels.row_update.kernel import Sizes, row_update
from services.engine.worker.columns import Column
from tests.kernels.harness import CPU, frame_is_whole, framed

ROWS, LONGEST, WIDTH, COLUMNS, LISTED = 400, 3000, 5, 6, 5
SHAPES = {
    "tokens": (ROWS, LONGEST),
    "tables": (ROWS, WIDTH),
    "parameters": (ROWS, COLUMNS),
    "lists": (ROWS, LISTED),
}


def block(lengths: list[int], blocks: int, work: int, draws: int) -> tuple[Tensor, Sizes]:
    """Rows that are scattered over the device, each with a list of another length, none to all that fits."""
    source = Source(CPU, seed=len(lengths))
    rows = source.shuffled(ROWS)[: len(lengths)].tolist()
    listed = [row % (LISTED + 1) for row in rows]
    columns = [[row, n, k, 7, 8, 9] for row, n, k in zip(rows, lengths, listed, strict=True)]
    sizes = Sizes(3, len(lengths), sum(lengths), sum(listed), blocks, work, draws)
    parts = [
        source.given([-9] * sizes.skip),
        source.given([value for row in columns for value in row]),
        source.integers(0, 1000, sizes.tokens + sizes.listed),
        source.shuffled(ROWS * WIDTH)[:blocks],
        source.integers(0, 1000, blocks + 3 * work + draws + 5),  # a buffer may be longer than the block
    ]
    return torch.cat(parts), sizes


def outputs(B: int, S: int) -> tuple[list[Tensor], dict[str, Any]]:
    """Every output lies between guard rows."""
    shapes = {**SHAPES, "rows": (B,), "starts": (B,), "counts": (B,), "sampled": (S,)}
    frames = {name: framed(shape, torch.int32) for name, shape in shapes.items()}
    return [whole for whole, _ in frames.values()], {name: view for name, (_, view) in frames.items()}


@pytest.mark.parametrize(
    "lengths, blocks, work, draws, B, S",
    [
        ([], 0, 1, 1, 1, 1),
        ([], 7, 3, 3, 8, 8),
        ([1], 1, 1, 0, 1, 0),
        ([3000, 1, 0, 1024, 1023, 1025, 0, 2], 40, 8, 3, 9, 9),
        ([2049] + [1] * 300 + [0, 0, 5], 1500, 304, 304, 304, 304),
        ([0, 0], 2, 2, 2, 1100, 1100),
    ],
    ids=["nothing new", "padded", "one", "across chunks", "many", "more work than a chunk"],
)
def test_a_difference_is_taken_in_part_by_part(
    lengths: list[int], blocks: int, work: int, draws: int, B: int, S: int
) -> None:
    """Rows with nothing, one and many ids, which end before, at and behind the chunks; all else stays as it was."""
    given, sizes = block(lengths, blocks, work, draws)
    frames, got = outputs(B, S)
    want: dict[str, Any] = {name: part.clone() for name, part in got.items()}
    reference.row_update(given, **want, sizes=sizes, pad_count=2)

    row_update(given, **got, sizes=sizes, pad_count=2)

    for name in want:
        assert torch.equal(got[name], want[name]), name
    assert all(frame_is_whole(whole) for whole in frames)


def test_padding_is_work_of_no_row_and_draws_are_padded_with_it() -> None:
    """So a captured step of eight rows can be run for three."""
    given, sizes = block([], 0, 3, 2)
    _, got = outputs(8, 8)
    row_update(given, **got, sizes=sizes)
    assert got["rows"].tolist()[3:] == [-1] * 5
    assert got["starts"].tolist()[3:] == [0] * 5
    assert got["counts"].tolist()[3:] == [1] * 5
    assert got["sampled"].tolist()[2:] == [7] * 6


def test_a_long_prompt_is_not_one_programs_work() -> None:
    """The grid grows with the ids, whosever they are, and no program copies more than CHUNK of them."""
    grids = []

    class Noting:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            grids.append(grid)
            return lambda *_, **__: None

    given, sizes = block([3000], 0, 1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_row_update", Noting())
        row_update(given, **outputs(1, 1)[1], sizes=sizes)
    assert grids == [(1 + 3 + 1,)]


def test_the_columns_that_are_read_are_those_that_are_packed() -> None:
    """The kernel knows three columns by their place."""
    assert (Column.ROW, Column.LENGTH, Column.LISTED) == (kernel.ROW, kernel.LENGTH, kernel.LISTED)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"block": torch.zeros(4, dtype=torch.int32)}, "too short"),
        ({"rows": torch.zeros(2, dtype=torch.int32)}, "rows"),
        ({"sampled": torch.zeros(1, dtype=torch.int32)}, "draws 2 of 1"),
        ({"sampled": torch.zeros(3, dtype=torch.int32)}, "padded with work"),
        ({"tokens": torch.zeros(ROWS, 9)}, "int32"),
        ({"lists": torch.zeros(LISTED, ROWS, dtype=torch.int32).T}, "contiguous"),
        ({"tables": torch.zeros(ROWS, 9, dtype=torch.int32)[:, :5]}, "tables must be contiguous"),
        ({"parameters": torch.zeros(ROWS, 2, dtype=torch.int32)}, "2 columns"),
        ({"pad_count": -1}, "pad_count"),
    ],
    ids=str,
)
def test_row_update_refuses(change: dict[str, Any], said: str) -> None:
    """A block that is too short, draws that cannot be padded, what lies otherwise in memory."""
    given, sizes = block([2], 1, 3, 2)
    arguments = {**outputs(3, 2)[1], "block": given, "sizes": sizes, **change}
    with pytest.raises(ValueError, match=f"row_update: .*{said}"):
        row_update(**arguments)
