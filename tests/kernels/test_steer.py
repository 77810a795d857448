"""What may be drawn and what is likelier: the kernel, the CPU's way and the reference say the same of the same list."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels.steer import cpu, kernel, reference
from services.engine.core.step import RowAdd
from services.engine.worker.columns import Column, Listed, columns_of
from shared.types import SamplingParams
from tests.kernels.harness import CPU, frame_is_whole, framed

V, OFF = 40, -math.inf
Steer = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], object]


def by_cpu(x: Tensor, lists: Tensor, columns: Tensor, tokens: Tensor, rows: Tensor, ends: Tensor) -> None:
    cpu.steer(x, lists, columns, tokens, rows, ends, (rows >= 0).nonzero()[:, 0].int())


WAYS: list[Steer] = [kernel.steer, by_cpu, reference.steer]


def steered(way: Steer, sampling: SamplingParams, prompt: tuple[int, ...], output: tuple[int, ...]) -> list[float]:
    """What becomes of logits of zero; before and behind the row lie padding, guards, and another one's list."""
    listed = Listed.of(sampling, V)
    known = prompt + output
    columns = columns_of(RowAdd(1, known, len(prompt), (), sampling), listed, len(prompt) + sampling.min_tokens)
    table = torch.zeros(2, 12, dtype=torch.int32)
    table[1, : len(known)] = torch.tensor(known)
    lists = torch.full((2, 2000), 3, dtype=torch.int32)
    lists[1, : len(listed.numbers)] = torch.from_numpy(listed.numbers)
    parameters = torch.zeros(2, len(Column), dtype=torch.int32)
    parameters[1] = torch.from_numpy(columns)
    whole, x = framed((2, V), torch.float32)
    x.zero_()
    rows, ends = (torch.tensor(v, dtype=torch.int32) for v in ([1, -1], [len(known), 0]))

    way(x, lists, parameters[:, Column.PROMPT_LEN : Column.SEED_LOW], table, rows, ends)

    assert frame_is_whole(whole)
    assert not x[1].any()
    result: list[float] = x[0].tolist()
    return result


def where(values: list[float], value: float) -> list[int]:
    return [id for id, one in enumerate(values) if one == value]


@pytest.mark.parametrize("way", WAYS, ids=["kernel", "cpu", "reference"])
def test_each_kind_of_list_does_what_it_says(way: Steer) -> None:
    """One after the other, and all of them in one row."""
    bias = SamplingParams(max_tokens=9, bias_ids=(0, 39, 7), biases=(-100.0, 2.5, 0.25))
    x = steered(way, bias, (1,), ())
    assert (where(x, -100.0), where(x, 2.5), where(x, 0.25)) == ([0], [39], [7])
    only = SamplingParams(max_tokens=9, allowed_ids=(5, 39, 0, 5))
    assert where(steered(way, only, (1,), ()), 0.0) == [0, 5, 39]
    early = SamplingParams(max_tokens=9, min_tokens=2, stop_ids=(3, 4))
    assert where(steered(way, early, (1,), (2,)), OFF) == [3, 4]
    assert where(steered(way, early, (1,), (2, 2)), OFF) == []
    everything = SamplingParams(
        max_tokens=9, min_tokens=9, stop_ids=(3,), bias_ids=(3, 5, 6), biases=(9.0, 9.0, 9.0), allowed_ids=(3, 5, 7),
        banned=((7,), (2, 8)),
    )  # fmt: skip
    x = steered(way, everything, (1,), (2,))
    assert where(x, 9.0) == [5] and where(x, OFF) == [id for id in range(V) if id != 5]


@pytest.mark.parametrize("way", WAYS, ids=["kernel", "cpu", "reference"])
def test_a_banned_sequence_ends_where_the_output_has_its_beginning(way: Steer) -> None:
    """Of one id and of several; what stands in the prompt begins nothing, and a beginning must be whole."""
    banned = SamplingParams(max_tokens=9, banned=((9,), (1, 2, 10), (2, 11), (3, 2, 12), (1, 2, 1, 2, 13), (2, 2, 14)))
    assert where(steered(way, banned, (1, 2), ()), OFF) == [9]
    assert where(steered(way, banned, (1,), (2,)), OFF) == [9, 11]
    assert where(steered(way, banned, (7,), (1, 2)), OFF) == [9, 10, 11]
    assert where(steered(way, banned, (7,), (1, 2, 1, 2)), OFF) == [9, 10, 11, 13]
    assert where(steered(way, banned, (7,), (2, 5)), OFF) == [9]


@pytest.mark.parametrize("way", WAYS, ids=["kernel", "cpu", "reference"])
def test_lists_are_longer_than_a_block_of_threads(way: Steer) -> None:
    """Hundreds of each: none is passed over."""
    ids = tuple(range(1, V)) * 7
    many = SamplingParams(max_tokens=9, banned=tuple((id % 3, id) for id in ids), allowed_ids=(0, *ids))
    x = steered(way, many, (5,), (2,))
    assert where(x, OFF) == [id for id in range(1, V) if id % 3 == 2]


def test_ids_that_the_model_cannot_draw_are_not_sent() -> None:
    """They would change another one's logits; what is left keeps its values."""
    listed = Listed.of(
        SamplingParams(max_tokens=9, bias_ids=(V, 2), biases=(1.0, 2.0), banned=((V, 1), (4,)), allowed_ids=(V + 1, 6)),
        V,
    )
    assert (listed.stops, listed.biases, listed.allowed, listed.banned) == (0, 1, 1, 1)
    bits = int(torch.tensor([2.0]).view(torch.int32))
    assert listed.numbers.tolist() == [2, bits, 6, 4, 0, 0]


def test_steer_refuses() -> None:
    """Logits of another dtype, columns of another width, ends that do not fit, lists apart."""
    x, at = torch.zeros(2, 9), torch.zeros(2, dtype=torch.int32)
    lists, columns, tokens = (torch.zeros(3, n, dtype=torch.int32, device=CPU) for n in (4, 6, 5))
    for given in (
        (x.half(), lists, columns, tokens, at, at),
        (x, lists, columns[:, :5], tokens, at, at),
        (x, lists, columns, tokens[:2], at, at),
        (x, lists, columns, tokens, at, at[:1]),
        (x, lists.new_zeros(4, 3).T, columns, tokens, at, at),
        (x, lists.long(), columns, tokens, at, at),
    ):
        with pytest.raises(ValueError, match="steer"):
            kernel.steer(*given)
