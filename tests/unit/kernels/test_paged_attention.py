"""Paged attention against its definition in float64, on sizes that fit nothing."""

from collections.abc import Sequence

import pytest
import torch

from kernels.paged_attention.batch import TILE, Page, PagedBatch
from kernels.paged_attention.cpu import PagedAttention
from kernels.paged_attention.reference import Rows, paged_attention

SHAPES = [(16, 2, 2, 64), (4, 1, 1, 8), (16, 3, 4, 16), (1, 2, 1, 8), (7, 1, 5, 24)]  # block, KV heads, sharing, dim
WINDOWS = [None, 1, 7, 64]
DECODES = [(0, 1), (3, 1), (15, 1), (16, 1), (17, 1), (130, 1), (131, 1), (131, 1)]
CHUNKS = [(0, 33), (0, 2), (5, 20), (64, 7), (100, 2)]


def scene(
    rows: Sequence[tuple[int, int]], shape: tuple[int, int, int, int], dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, Rows]:
    """Queries with something behind each, a cache whose blocks lie in no order (the reference's), and the rows."""
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
    return q, cache, Rows(tables, starts, counts)


def blocks_of_cpu(cache: torch.Tensor) -> torch.Tensor:
    """The reference's cache [blocks, block, 2, kv_heads, D] as a CPU has it: for each head, keys lie the other way."""
    keys, values = cache.permute(2, 0, 3, 4, 1)[0].flatten(2), cache.permute(2, 0, 3, 1, 4)[1].flatten(2)
    return torch.stack((keys, values), dim=2)


def tiled(rows: Rows) -> PagedBatch:
    """Queries of one row by TILE; rows with one query apart."""
    decoding: list[list[int]] = []
    prefilling: list[list[int]] = []
    query = 0
    for row, (start, count) in enumerate(zip(rows.starts, rows.counts, strict=True)):
        for done in range(0, count, TILE):
            tile = [row, query + done, start + done, min(TILE, count - done)]
            (decoding if count == 1 else prefilling).append(tile)
        query += count
    tiles = (torch.tensor(tiles, dtype=torch.int32).view(-1, 4) for tiles in (decoding, prefilling))
    return PagedBatch(rows.tables, *tiles)


def attend(q: torch.Tensor, cache: torch.Tensor, rows: Rows, window: int | None) -> torch.Tensor:
    page = Page(cache.shape[1], cache.shape[3], cache.shape[4])
    attention = PagedAttention(tiled(rows), page, q.shape[1], 0.3)
    blocks, line = blocks_of_cpu(cache), torch.as_strided(q, (len(q), q.stride(0)), (q.stride(0), 1))
    first, again = attention(line, blocks, window), attention(line, blocks, window)  # another layer of the step
    assert torch.equal(first, again)
    return first.view(q.shape)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [DECODES, CHUNKS, DECODES + CHUNKS], ids=["decodes", "chunks", "mixed"])
def test_every_query_sees_what_it_should(
    rows: list[tuple[int, int]], shape: tuple[int, int, int, int], window: int | None
) -> None:
    """Rows that decode and chunks with and without a past, alone and mixed, with and without a window."""
    q, cache, seen = scene(rows, shape)
    expected = paged_attention(q.double(), cache, seen, 0.3, window)
    torch.testing.assert_close(attend(q, cache, seen, window).double(), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("window", [None, 20])
def test_bfloat16_is_as_good_as_its_rounding(window: int | None) -> None:
    """Scores and sums are float32 inside: the error is that of the values and of one rounding of the result."""
    q, cache, seen = scene(DECODES + CHUNKS, (16, 2, 2, 64), torch.bfloat16)
    expected = paged_attention(q.double(), cache, seen, 0.3, window)
    torch.testing.assert_close(attend(q, cache, seen, window).double(), expected, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("dim", [64, 80, 20])
def test_long_rows_and_chunks_of_many_tiles(dim: int) -> None:
    """Contexts of many blocks, and queries that fill no tile, no span and no line of the product evenly."""
    q, cache, seen = scene([(700, 1), (300, 1), (0, 70), (333, 101), (40, 2)], (16, 2, 3, dim))
    for window in (None, 130):
        expected = paged_attention(q.double(), cache, seen, 0.3, window)
        torch.testing.assert_close(attend(q, cache, seen, window).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_share_the_work(threads: int) -> None:
    """Each item is taken once, however many take."""
    before = torch.get_num_threads()
    q, cache, seen = scene([(900, 1)] * 9 + [(100, 200)] * 3, (16, 4, 2, 64))
    torch.set_num_threads(threads)
    try:
        result = attend(q, cache, seen, None)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(result.double(), paged_attention(q.double(), cache, seen, 0.3), rtol=0, atol=5e-6)


def test_what_stands_in_other_blocks_does_not_matter() -> None:
    """Blocks of other rows and the rest of a row's last block may hold anything finite."""
    rows = [(5, 1), (9, 1), (2, 6)]
    q, cache, seen = scene(rows, (4, 2, 2, 8))
    before = attend(q, cache, seen, None)
    mine = torch.zeros(cache.shape[:2], dtype=torch.bool)
    for table, (start, count) in zip(seen.tables.tolist(), rows, strict=True):
        for position in range(start + count):
            mine[table[position // 4], position % 4] = True
    cache[~mine] = 1e4
    torch.testing.assert_close(attend(q, cache, seen, None), before, rtol=0, atol=1e-6)
