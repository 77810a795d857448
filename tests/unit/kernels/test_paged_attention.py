"""Paged attention against its definition in float64, on sizes that fit nothing."""

from collections.abc import Sequence

import pytest
import torch

from kernels.paged_attention import PagedAttention, PagedBatch, cpu, write_kv
from kernels.paged_attention.reference import paged_attention

SHAPES = [(16, 2, 2, 64), (4, 1, 1, 8), (16, 3, 4, 16), (1, 2, 1, 8), (7, 1, 5, 24)]  # block, KV heads, sharing, dim
WINDOWS = [None, 1, 7, 64]
DECODES = [(0, 1), (3, 1), (15, 1), (16, 1), (17, 1), (130, 1), (131, 1), (131, 1)]
CHUNKS = [(0, 33), (0, 2), (5, 20), (64, 7), (100, 2)]


def scene(
    rows: Sequence[tuple[int, int]], shape: tuple[int, int, int, int], dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, PagedBatch]:
    """Queries (a view with a gap behind each), a cache whose blocks lie in no order, and the batch. Spare ids are 0."""
    block, kv_heads, sharing, dim = shape
    dice = torch.Generator().manual_seed(4)
    needed = [-(-(start + count) // block) for start, count in rows]
    order = torch.randperm(sum(needed) + 3, generator=dice).tolist()
    tables = torch.zeros(len(rows), max(needed), dtype=torch.int32)
    for row, blocks in enumerate(needed):
        tables[row, :blocks] = torch.tensor([order.pop() for _ in range(blocks)], dtype=torch.int32)
    cache = torch.randn(sum(needed) + 3, block, 2, kv_heads, dim, generator=dice).to(dtype)
    total, heads = sum(count for _, count in rows), kv_heads * sharing
    q = torch.randn(total, heads + 3, dim, generator=dice).to(dtype)[:, :heads]
    starts, counts = zip(*rows, strict=True)
    return q, cache, PagedBatch(tables, torch.tensor(starts, dtype=torch.int32), starts, counts)


def attend(q: torch.Tensor, cache: torch.Tensor, batch: PagedBatch, window: int | None) -> torch.Tensor:
    attention = PagedAttention(batch, cache.shape[1:], q.shape[1], q.dtype, 0.3)
    first, again = attention(q, cache, window), attention(q, cache, window)  # another layer of the step
    assert torch.equal(first, again)
    return first.view_as(q)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [DECODES, CHUNKS, DECODES + CHUNKS], ids=["decodes", "chunks", "mixed"])
def test_every_query_sees_what_it_should(
    rows: list[tuple[int, int]], shape: tuple[int, int, int, int], window: int | None
) -> None:
    """Rows that decode and chunks with and without a past, alone and mixed, with and without a window."""
    q, cache, batch = scene(rows, shape)
    expected = paged_attention(q.double(), cache, batch, 0.3, window)
    torch.testing.assert_close(attend(q, cache, batch, window).double(), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("window", [None, 20])
def test_bfloat16_is_as_good_as_its_rounding(window: int | None) -> None:
    """Scores and sums are float32 inside: the error is that of the values and of one rounding of the result."""
    q, cache, batch = scene(DECODES + CHUNKS, (16, 2, 2, 64), torch.bfloat16)
    expected = paged_attention(q.double(), cache, batch, 0.3, window)
    torch.testing.assert_close(attend(q, cache, batch, window).double(), expected, rtol=2**-7, atol=2**-7)


def test_groups_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is gathered at once and however small a mask may be, the result is the same."""
    q, cache, batch = scene([*DECODES, (300, 1), *CHUNKS, (40, 90)], (4, 2, 2, 16))
    expected = {window: paged_attention(q.double(), cache, batch, 0.3, window) for window in (None, 30)}
    for group_bytes, mask_bytes in ((1, 1), (4096, 4096), (1 << 30, 1 << 30)):
        monkeypatch.setattr(cpu, "GROUP_BYTES", group_bytes)
        monkeypatch.setattr(cpu, "MASK_BYTES", mask_bytes)
        for window, result in expected.items():
            torch.testing.assert_close(attend(q, cache, batch, window).double(), result, rtol=0, atol=5e-6)


def test_what_stands_in_other_blocks_does_not_matter() -> None:
    """Blocks of other rows and the rest of a row's last block may hold anything finite."""
    rows = [(5, 1), (9, 1), (2, 6)]
    q, cache, batch = scene(rows, (4, 2, 2, 8))
    before = attend(q, cache, batch, None)
    mine = torch.zeros(cache.shape[:2], dtype=torch.bool)
    for table, (start, count) in zip(batch.tables.tolist(), rows, strict=True):
        for position in range(start + count):
            mine[table[position // 4], position % 4] = True
    cache[~mine] = 1e4
    torch.testing.assert_close(attend(q, cache, batch, None), before, rtol=0, atol=1e-6)


def test_keys_and_values_are_written_to_their_slots() -> None:
    """Slot s is offset s % block_size of block s // block_size; nothing else changes."""
    cache = torch.full((5, 4, 2, 3, 2), -1.0)
    kv = torch.randn(2, 30)[:, 6:18]  # keys, then values, of a wider row
    write_kv(cache, torch.tensor([18, 3]), kv)
    expected = torch.full_like(cache, -1.0)
    expected[4, 2], expected[0, 3] = kv[0].view(2, 3, 2), kv[1].view(2, 3, 2)
    assert torch.equal(cache, expected)
