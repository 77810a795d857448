"""Penalties, the draw and log-probabilities: the same tokens as the worker's torch path, and as a sort in float64."""

import math
import struct
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels._case import Source
from kernels.draw import kernel as draw
from kernels.draw import reference as draw_reference
from kernels.draw.cases import knobs
from kernels.logprobs import kernel as logprobs
from kernels.logprobs import reference as logprobs_reference
from kernels.penalties import kernel as penalties
from kernels.penalties import reference as penalties_reference
from tests.kernels import jitted
from tests.kernels.harness import CPU, assert_agrees, frame_is_whole, framed
from tests.noise import gumbel, row_keys, token_counters

OFF = math.inf
V = 3001


def test_the_logarithm_is_exact_near_one() -> None:
    """Where the largest noise comes from: -log(u) for u next to 1 has all its digits."""
    x = torch.tensor([1 - 2**-24, 1 - 2**-23, 2**-24, 0.5, 0.7071, 0.70711, 1.0, 1.4142, 17.5, 1e-30, 1e30])
    x = torch.cat((x, torch.rand(500, generator=torch.Generator().manual_seed(0)).clamp_min(2**-24)))
    out = torch.empty_like(x)
    jitted.log_of[(1,)](out, x, len(x), BLOCK=1024)
    torch.testing.assert_close(out.double(), x.double().log(), rtol=3e-7, atol=0)


def test_float32_keeps_its_order_as_integers() -> None:
    """Negative ones and infinities too; and the way back is exact."""
    x = torch.tensor([-math.inf, -1e30, -2.0, -1.0 - 2**-23, -1.0, -1e-38, 0.0, 1e-38, 1.0, 1 + 2**-23, 2.0, math.inf])
    keys, back = torch.empty(len(x), dtype=torch.int32), torch.empty_like(x)
    jitted.keys_of[(1,)](keys, back, x, len(x), BLOCK=16)
    assert bool((keys.diff() > 0).all())
    assert torch.equal(back, x)


@pytest.mark.parametrize("seed, position", [(0, 0), (1, 5), (2**64 - 1, 2**31 - 1), (0x9E3779B97F4A7C15, 1 << 20)])
def test_the_noise_is_the_workers_bit_by_bit(seed: int, position: int) -> None:
    """The same hash of (seed, position, token id), so a request may go on in another engine on another device."""
    low, high = struct.unpack("<ii", struct.pack("<Q", seed))
    got = torch.empty(V)
    jitted.noise_of[(1,)](got, low, high, position, V, BLOCK=4096)
    given = (torch.tensor([n], dtype=torch.int32) for n in (low, high, position))
    want = gumbel(row_keys(*given), token_counters(V, CPU))[0]
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got.double(), draw_reference.gumbel(seed, position, V), rtol=1e-6, atol=1e-6)


def logits(rows: int, vocab: int = V, seed: int = 0) -> Tensor:
    """Rows of a wider tensor."""
    return (torch.randn(rows, vocab + 5, generator=torch.Generator().manual_seed(seed)) * 4)[:, :vocab]


KINDS = [
    (0, 0.0, OFF, 0.0),
    (0, 1.0, OFF, 0.0),
    (1, 2.0, OFF, 0.0),
    (3, 0.5, 0.7, 0.0),
    (V - 1, 1.5, 0.99, 0.0),
    (V, 1.5, OFF, 0.0),
    (2**31 - 1, 5.0, 0.999999, 0.0),
    (0, 9.0, 0.5, 0.02),
    (40, 1.0, 0.9, 0.3),
    (0, 3.0, OFF, 0.1),
    (0, 1.0, 1e-9, 0.0),
]


def test_a_draw_is_that_of_a_sort() -> None:
    """Every way to cut the row, rows in any order of the device's, guard rows around what is drawn."""
    rows = torch.tensor([*reversed(range(len(KINDS))), -1], dtype=torch.int32)
    x, kinds = logits(len(rows)), knobs(KINDS, Source(CPU))
    ends = torch.arange(len(rows), dtype=torch.int32) * 3
    wide = torch.cat((kinds, kinds), dim=1)[:, 3:]  # the columns lie within those of other parameters
    wide = torch.cat((torch.zeros_like(kinds[:, :4]), kinds, wide), dim=1)[:, 4:10]
    whole, out = framed((len(rows),), torch.int32)
    tokens = torch.full((len(KINDS), 50), -7, dtype=torch.int32)

    draw.draw(x, wide, rows, ends, tokens=tokens, out=out)

    assert torch.equal(out[:-1], draw_reference.draw(x[:-1], kinds, rows[:-1], ends[:-1]))
    assert frame_is_whole(whole)
    want = torch.full_like(tokens, -7)
    want[rows[:-1].long(), ends[:-1].long()] = out[:-1]
    assert torch.equal(tokens, want)


@pytest.mark.parametrize("kind", KINDS[2:], ids=str)
def test_the_bounds_keep_what_a_sort_keeps(kind: tuple[int, float, float, float]) -> None:
    """The set that may be drawn, not only the one that was: for several rows, one of them full of ties."""
    x = torch.cat(
        (logits(2, seed=3), logits(1, seed=4).round(), torch.full((1, V), 2.5), logits(1).sort().values)
    ).contiguous()
    x[0, ::2] = -math.inf  # masked
    kinds = knobs([kind] * len(x), Source(CPU))
    rows, bounds = torch.arange(len(x), dtype=torch.int32), torch.empty(len(x), 2)
    draw._bounds[(len(x),)](bounds, x, kinds, rows, x.stride(0), 6, V, BLOCK_V=1024, PIVOTS=8)
    scaled = x / kind[1]
    kept = (scaled > bounds[:, :1]) & (scaled >= bounds[:, 1:])
    want = torch.stack([draw_reference.keep(row.double(), kind[0], *kind[2:]) for row in scaled])
    assert torch.equal(kept & (scaled > -math.inf), want > -math.inf)


@pytest.mark.parametrize("over, least, kept", [(2.0, -math.inf, {7}), (-math.inf, 2.0, {7, 8, 9}), (1.0, 3.0, {7})])
def test_a_draw_is_over_one_bound_and_not_under_the_other(over: float, least: float, kept: set[int]) -> None:
    """What equals the first bound is cut, what equals the second is kept."""
    x = torch.zeros(1, 10)
    x[0, 7:] = torch.tensor([3.0, 2.0, 2.0])
    at, row, bounds = (
        torch.empty(1, 1, dtype=torch.int32),
        torch.zeros(1, dtype=torch.int32),
        torch.tensor([[over, least]]),
    )
    drawn = set()
    for position in range(30):
        kinds, ends = knobs([(0, 1.0, OFF, 0.0)], Source(CPU, position)), torch.tensor([position], dtype=torch.int32)
        draw._draw[(1, 1)](torch.empty(1, 1), at, x, bounds, kinds, row, ends, 10, 6, 10, SPLIT=64, BLOCK_V=16)
        drawn.add(int(at))
    assert drawn == kept


def test_greedy_takes_the_first_of_equals() -> None:
    """Logits of bfloat16 tie often; the smaller id wins, across splits of the row too."""
    x = torch.zeros(2, 20_000)
    x[0, [19_000, 700, 9_000]] = 1.0
    rows = torch.zeros(2, dtype=torch.int32)
    assert draw.draw(x, knobs([KINDS[0]], Source(CPU)), rows, rows).tolist() == [700, 0]


def test_draw_refuses() -> None:
    """Logits of another dtype, columns that are not six, ends for another number of rows."""
    at = torch.zeros(2, dtype=torch.int32)
    kinds = knobs([KINDS[0]], Source(CPU))
    wrong: list[tuple[Any, ...]] = [
        (torch.zeros(2, 9).half(), kinds, at, at),
        (torch.zeros(2, 9), kinds[:, :5], at, at),
        (torch.zeros(2, 9), kinds, at, at[:1]),
        (torch.zeros(9, 2).T, kinds, at, at),
    ]
    for given in wrong:
        with pytest.raises(ValueError, match="draw"):
            draw.draw(*given)


@pytest.mark.parametrize("length, prompt", [(1, 1), (5, 0), (63, 20), (1024, 100), (1500, 1500), (9300, 4000)])
def test_penalties_count_each_token_once(length: int, prompt: int) -> None:
    """However often and in however many programs a token comes up, each of which may have several blocks of the row;
    the scratch is zero again for the next step."""
    dice = torch.Generator().manual_seed(length)
    tokens = torch.randint(0, 40, (3, max(length, 1600)), generator=dice, dtype=torch.int32)
    kinds = torch.tensor([[0.5, 0.1, 1.2], [0, 0, 1], [-0.3, 0, 0.5]]).view(torch.int32)
    rows, ends = torch.tensor([2, 1, 0, -1], dtype=torch.int32), torch.tensor([length] * 3 + [0], dtype=torch.int32)
    prompts = torch.full((3,), prompt, dtype=torch.int32)
    (whole, x), (rest, scratch) = framed((4, 50), torch.float32), framed((4, 50), torch.int32)
    x.copy_(logits(4, 50))
    scratch.zero_()
    want = penalties_reference.penalise(x[:3].double(), tokens, kinds, rows[:3], ends[:3], prompts, scratch)
    untouched = x[[1, 3]].clone()

    penalties.penalise(x, tokens, kinds, rows, ends, prompts, scratch)

    assert_agrees(x[:3], want)
    assert torch.equal(x[[1, 3]], untouched)
    assert not scratch.any()
    assert frame_is_whole(whole) and frame_is_whole(rest)


def test_penalties_refuse() -> None:
    """Scratch that is too small, knobs of another width."""
    x, at = torch.zeros(2, 9), torch.zeros(2, dtype=torch.int32)
    tokens, kinds, scratch = (torch.zeros(2, n, dtype=torch.int32) for n in (4, 3, 9))
    for given in ((tokens, kinds, at, at, at, scratch[:1]), (tokens, kinds[:, :2], at, at, at, scratch)):
        with pytest.raises(ValueError, match="penalise"):
            penalties.penalise(x, *given)


@pytest.mark.parametrize("vocab, k", [(1, 1), (63, 20), (100, 3), (5000, 20), (8192, 0)])
def test_logprobs_are_in_order_and_ties_by_id(vocab: int, k: int) -> None:
    """Rows with many equal and with masked logits; no id comes twice, not even among those of no chance."""
    x = logits(3, vocab)
    x[1] = x[1].round()
    x[2, 1:] = -math.inf
    drawn = torch.tensor([vocab // 2, 0, 0], dtype=torch.int32)
    got = logprobs.logprobs(x, drawn, k)
    for one, other in zip(got, logprobs_reference.logprobs(x.double(), drawn, k), strict=True):
        assert_agrees(one, other, absolute=1.0)


@pytest.mark.parametrize("k", [-1, 33, 10])
def test_logprobs_refuse(k: int) -> None:
    """More than there are, or than are built for."""
    with pytest.raises(ValueError, match=f"k {k}"):
        logprobs.logprobs(torch.zeros(1, 9), torch.zeros(1, dtype=torch.int32), k)
