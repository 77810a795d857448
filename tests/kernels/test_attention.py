"""Attention over pages: every split of the work, lengths at every edge, windows, shared heads, padding."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels.decode_attention import kernel as decode
from kernels.decode_attention.reference import decode_attention as decode_reference
from kernels.prefill_attention import kernel as prefill
from kernels.prefill_attention.reference import prefill_attention as prefill_reference
from tests.kernels.harness import assert_agrees, frame_is_whole, framed

SCALE = 0.3
EDGES = (1, 0, 16, 17, 63, 64, 65, 0, 127, 128, 129, 200)


@dataclass(frozen=True)
class Pages:
    cache: Tensor
    tables: Tensor  # a part of a wider tensor
    rows: Tensor


def pages(rows: int, longest: int, kv_heads: int, D: int, block: int, dtype: torch.dtype) -> Pages:
    """What lies past a row's end in its blocks is NaN-free but large, so that a mask which fails shows."""
    dice = torch.Generator().manual_seed(rows)
    width = -(-max(longest, 1) // block)
    cache = torch.randn(rows * width + 1, block, 2, kv_heads, D, generator=dice).to(dtype)
    tables = torch.randperm(rows * width, generator=dice).to(torch.int32).view(rows, width)
    wide = torch.cat((tables, torch.full_like(tables, rows * width)), dim=1)
    return Pages(cache, wide[:, :width], torch.randperm(rows, generator=dice).to(torch.int32))


def spoil(p: Pages, lengths: list[int], block: int) -> None:
    """Keys past the end of each row become huge."""
    for row, length in zip(p.rows.tolist(), lengths, strict=True):
        for position in range(length, p.tables.shape[1] * block):
            p.cache[p.tables[row, position // block], position % block] = 1e4


def queries(T: int, heads: int, D: int, dtype: torch.dtype) -> Tensor:
    """Heads of q lie in wider tokens, as in a fused projection."""
    dice = torch.Generator().manual_seed(T + heads)
    return torch.randn(T, heads + 3, D, generator=dice).to(dtype)[:, :heads]


def run_decode(q: Tensor, p: Pages, lengths: list[int], programs: int, window: int | None) -> Tensor:
    """Through poisoned scratch and offsets, and an output between guard rows."""
    on_device = torch.tensor(lengths, dtype=torch.int32)
    scratch = decode.decode_scratch(programs, q.shape[0], q.shape[1], q.shape[2], q.device)
    for part in scratch:
        part.fill_(float("nan"))
    (offsets_whole, offsets), (whole, out) = (
        framed((len(lengths) + 1,), torch.int32),
        framed((len(q), q[0].numel()), q.dtype),
    )
    decode.plan_decode(on_device, window, out=offsets)
    decode.decode_attention(
        q, p.cache, p.tables, p.rows, on_device, offsets, SCALE, scratch, programs=programs, window=window, out=out
    )
    assert frame_is_whole(whole) and frame_is_whole(offsets_whole)
    return out


@pytest.mark.parametrize("window", [None, 1, 50, 64, 1000])
@pytest.mark.parametrize("programs", [1, 2, 3, 7, 40])
def test_decode_gives_the_same_however_the_work_is_cut(programs: int, window: int | None) -> None:
    """One program or more than there are tiles: lengths at the edges of tiles and blocks, empty rows between them."""
    p = pages(len(EDGES), max(EDGES), 2, 16, 16, torch.float32)
    spoil(p, list(EDGES), 16)
    q = queries(len(EDGES), 6, 16, torch.float32)
    lengths = torch.tensor(EDGES, dtype=torch.int32)
    want = decode_reference(q.double(), p.cache.double(), p.tables, p.rows, lengths, SCALE, window)
    got = run_decode(q, p, list(EDGES), programs, window)
    assert_agrees(got, want, absolute=1.0)
    assert not got[1].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(
    "heads, kv_heads, D, block", [(1, 1, 8, 16), (5, 1, 20, 32), (8, 8, 64, 64), (20, 1, 32, 48), (7, 1, 100, 1)]
)
def test_decode_shares_heads_and_takes_any_width(
    heads: int, kv_heads: int, D: int, block: int, dtype: torch.dtype
) -> None:
    """One to twenty query heads on a KV head, head sizes that are no power of two, blocks larger than a tile's part."""
    lengths = [100, 1, 67]
    p = pages(3, 100, kv_heads, D, block, dtype)
    q = queries(3, heads, D, dtype)
    on_device = torch.tensor(lengths, dtype=torch.int32)
    want = decode_reference(q.double(), p.cache.double(), p.tables, p.rows, on_device, SCALE)
    assert_agrees(run_decode(q, p, lengths, 4, None), want, absolute=1.0)


def test_decode_programs_share_the_tiles_evenly() -> None:
    """No program reads more tiles than the mean, rounded up: a long row among short ones is no straggler."""
    lengths = torch.tensor([5000, 1, 30, 64, 65, 0, 900], dtype=torch.int32)
    offsets = decode.plan_decode(lengths)
    tiles = [-(-n // decode.Tiling().keys) for n in lengths.tolist()]
    assert offsets.tolist() == [sum(tiles[:n]) for n in range(len(tiles) + 1)]
    windowed = decode.plan_decode(lengths, 100).diff().tolist()
    assert windowed == [3, 1, 1, 1, 2, 0, 3]  # 4900 and 800 are no multiples of 64
    many = torch.arange(1000, dtype=torch.int32)
    assert decode.plan_decode(many)[-1] == sum(-(-n // decode.Tiling().keys) for n in range(1000))


def test_decode_leaves_padding_alone() -> None:
    """Rows below 0 of length 0 behind those of a captured step give 0, with scratch for more rows than there are."""
    p, lengths = pages(3, 129, 2, 16, 16, torch.float32), [70, 0, 129, 0, 0]
    p.tables[0] = len(p.cache) - 1  # what a row below 0 would find, were it looked up: keys that are no number
    p.cache[-1] = float("nan")
    rows = torch.tensor([1, -1, 2, -1, -1], dtype=torch.int32)
    q, on_device = queries(5, 4, 16, torch.float32), torch.tensor(lengths, dtype=torch.int32)
    q[[1, 3, 4]] = float("nan")
    scratch = decode.decode_scratch(9, 30, 4, 16, q.device)
    offsets = decode.plan_decode(on_device)
    for programs in (1, 4, 9):
        got = decode.decode_attention(q, p.cache, p.tables, rows, on_device, offsets, SCALE, scratch, programs=programs)
        live = [0, 2]
        want = decode_reference(q[live].double(), p.cache.double(), p.tables, rows[live], on_device[live], SCALE)
        assert_agrees(got[live], want, absolute=1.0)
        assert not got[[1, 3, 4]].any()


def test_decode_programs_run_side_by_side() -> None:
    """Three on each SM since Hopper, two before; never none."""
    assert decode.choose_programs(132, 8) * 8 <= 3 * 132 < (decode.choose_programs(132, 8) + 1) * 8
    assert decode.choose_programs(108, 8, 80) * 8 <= 2 * 108
    assert decode.choose_programs(1, 8) == 1


@pytest.mark.parametrize("tiling", [decode.Tiling(32, 4, 2), decode.Tiling(128, 8, 3)], ids=str)
def test_decode_gives_the_same_in_other_tiles(tiling: decode.Tiling) -> None:
    """A plan counts in the tiles of the launch."""
    p, q = pages(3, 200, 2, 16, 16, torch.float32), queries(3, 4, 16, torch.float32)
    lengths = torch.tensor([33, 200, 128], dtype=torch.int32)
    want = decode_reference(q.double(), p.cache.double(), p.tables, p.rows, lengths, SCALE, 90)
    got = decode.decode_attention(
        q, p.cache, p.tables, p.rows, lengths, decode.plan_decode(lengths, 90, keys=tiling.keys), SCALE,
        decode.decode_scratch(3, 3, 4, 16, q.device), programs=3, window=90, tiling=tiling,
    )  # fmt: skip
    assert_agrees(got, want, absolute=1.0)


def test_decode_refuses() -> None:
    """Too little scratch, mixed dtypes, lengths of another type, a window of nothing."""
    p, q = pages(2, 9, 1, 16, 16, torch.float32), queries(2, 2, 16, torch.float32)
    lengths = torch.tensor([3, 9], dtype=torch.int32)
    offsets, scratch = decode.plan_decode(lengths), decode.decode_scratch(2, 2, 2, 16, q.device)
    arguments: list[Any] = [q, p.cache, p.tables, p.rows, lengths, offsets, SCALE, scratch]
    for index, wrong in (
        (0, q.half()),
        (1, p.cache.half()),
        (4, lengths.long()),
        (5, offsets[:2]),
        (2, p.tables.long()),
    ):
        with pytest.raises(ValueError, match="decode_attention"):
            decode.decode_attention(*[*arguments[:index], wrong, *arguments[index + 1 :]], programs=2)
    with pytest.raises(ValueError, match="programs"):
        decode.decode_attention(*arguments, programs=3)
    with pytest.raises(ValueError, match="window"):
        decode.plan_decode(lengths, 0)


@pytest.mark.parametrize("window", [None, 1, 50, 1000])
@pytest.mark.parametrize("heads, kv_heads, D, block", [(6, 2, 16, 16), (1, 1, 20, 32), (5, 1, 8, 64)])
def test_prefill_takes_chunks_and_single_tokens_together(
    heads: int, kv_heads: int, D: int, block: int, window: int | None
) -> None:
    """Whole prompts, chunks on top of a cached prefix, rows that decode; none sees what lies after it."""
    starts, counts = [0, 130, 63, 0, 5, 64], [1, 1, 34, 67, 0, 33]
    lengths = [start + count for start, count in zip(starts, counts, strict=True)]
    p = pages(6, max(lengths), kv_heads, D, block, torch.float32)
    spoil(p, lengths, block)
    q = queries(sum(counts), heads, D, torch.float32)
    firsts = torch.tensor([0, *counts], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    on_device = torch.tensor(starts, dtype=torch.int32)
    want = prefill_reference(q.double(), p.cache.double(), p.tables, p.rows, firsts, on_device, SCALE, window)
    whole, out = framed((len(q), heads * D), q.dtype)

    prefill.prefill_attention(q, p.cache, p.tables, p.rows, firsts, on_device, SCALE, window=window, out=out)

    assert_agrees(out, want, absolute=1.0)
    assert frame_is_whole(whole)


def test_prefill_and_decode_agree() -> None:
    """A row's last token gets the same from both, so it does not matter which way a step takes."""
    lengths, heads, D = [70, 129, 5], 4, 16
    p, q = pages(3, 129, 2, D, 16, torch.float32), queries(3, heads, D, torch.float32)
    firsts = torch.arange(4, dtype=torch.int32)
    starts = torch.tensor(lengths, dtype=torch.int32) - 1
    together = prefill.prefill_attention(q, p.cache, p.tables, p.rows, firsts, starts, SCALE)
    assert_agrees(run_decode(q, p, lengths, 3, None), together, absolute=1.0)


@pytest.mark.parametrize("singles", [1, 5, 40])
@pytest.mark.parametrize("window", [None, 50])
def test_a_mixed_step_is_written_by_both(singles: int, window: int | None) -> None:
    """Those that compute one token come first, then chunks, whose queries begin where they begin in the whole step."""
    starts = [*(row * 7 % 90 for row in range(singles)), 0, 64, 17]
    counts = [*[1] * singles, 67, 2, 34]
    lengths = [start + count for start, count in zip(starts, counts, strict=True)]
    p = pages(len(starts), max(lengths), 2, 16, 16, torch.float32)
    spoil(p, lengths, 16)
    q = queries(sum(counts) + 3, 6, 16, torch.float32)  # three more, of nobody
    firsts = torch.tensor([0, *counts], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    at, ends = torch.tensor(starts, dtype=torch.int32), torch.tensor(lengths, dtype=torch.int32)
    whole, out = framed((len(q), 6 * 16), q.dtype)

    prefill.prefill_attention(
        q, p.cache, p.tables, p.rows[singles:], firsts[singles:], at[singles:], SCALE, window=window, out=out
    )
    assert out[:singles].isnan().all() and out[-3:].isnan().all()
    decode.decode_attention(
        q[:singles], p.cache, p.tables, p.rows[:singles], ends[:singles], decode.plan_decode(ends[:singles], window),
        SCALE, decode.decode_scratch(4, len(starts), 6, 16, q.device), programs=4, window=window, out=out[:singles],
    )  # fmt: skip

    want = prefill_reference(q[:-3].double(), p.cache.double(), p.tables, p.rows, firsts, at, SCALE, window)
    assert_agrees(out[:-3], want, absolute=1.0)
    assert out[-3:].isnan().all() and frame_is_whole(whole)


def test_prefill_refuses() -> None:
    """A tile that is not built, firsts of another length, another dtype."""
    p, q = pages(1, 9, 1, 16, 16, torch.float32), queries(9, 2, 16, torch.float32)
    firsts, starts = torch.tensor([0, 9], dtype=torch.int32), torch.tensor([0], dtype=torch.int32)
    with pytest.raises(ValueError, match="tile"):
        prefill.prefill_attention(q, p.cache, p.tables, p.rows, firsts, starts, SCALE, tile=(16, 64))
    with pytest.raises(ValueError, match="firsts"):
        prefill.prefill_attention(q, p.cache, p.tables, p.rows, firsts[:1], starts, SCALE)
    with pytest.raises(ValueError, match="int32"):
        prefill.prefill_attention(q.half(), p.cache, p.tables, p.rows, firsts, starts, SCALE)
