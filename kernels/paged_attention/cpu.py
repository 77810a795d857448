"""Paged attention by torch's scaled dot product over gathered blocks: the CPU's path, correct on any device.

Gathering is the price of pages without a kernel of one's own, so what is gathered should stay in the cache of a core
until it is used: rows that decode go in groups of similar length and bounded size, rows that prefill one by one. The
query heads that share a KV head stand in the place of query positions, so nothing is repeated for GQA.
Which blocks are gathered and what is masked depends on the step and not on the layer: it is worked out once per step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from kernels.paged_attention.batch import PagedBatch

GROUP_BYTES = 1 << 20  # gathered at once for rows that decode: half of what an L2 cache holds
MASK_BYTES = 1 << 25  # of one mask of a row that prefills; beyond it the row's queries are taken in parts
SLACK = 1.25  # the longest row of a group is at most this much longer than the shortest, and two blocks


@dataclass(frozen=True, slots=True)
class _Group:
    queries: int
    rows: int
    decodes: bool  # one query for each row; else all are of one row
    blocks: Tensor  # [rows * blocks per row] int32
    keys: slice  # of the positions in each row's blocks, those that any query sees
    mask: Tensor | None  # broadcasts to [rows, heads, queries per row, keys]; None: all, or for a chunk plain causal


@dataclass(frozen=True, slots=True)
class _Gather:
    """A group and the place its blocks are gathered to. Groups take turns at one place, which so stays warm."""

    group: _Group
    pages: Tensor  # [rows * blocks per row, block_size * 2 * kv_heads * D]
    keys: Tensor  # views into it: [rows, kv_heads, keys, D], or for one row that prefills [kv_heads, G, keys, D]
    values: Tensor


class PagedAttention:
    """The attention of one step: made once, called once for each layer."""

    def __init__(self, batch: PagedBatch, page: torch.Size, heads: int, dtype: torch.dtype, scale: float) -> None:
        """`page` is the shape of a block, (block_size, 2, kv_heads, D); `dtype` is that of queries and cache."""
        self._batch = batch
        self._page = page
        self._block_size, _, self._kv_heads, self._dim = page
        self._sharing = heads // self._kv_heads  # query heads for each KV head
        self._dtype = dtype
        self._scale = scale
        self._gathers: dict[int | None, list[_Gather]] = {}

    def __call__(self, q: Tensor, cache: Tensor, window: int | None = None) -> Tensor:
        """q [T, heads, D], last dimension contiguous; cache [num_blocks, *page] of this layer.

        Each query sees at most the last `window` positions, itself among them. Returns [T, heads * D].
        """
        if window not in self._gathers:
            self._gathers[window] = self._plan(window)
        gathers = self._gathers[window]
        sizes = [gather.group.queries for gather in gathers]
        shape = (-1, self._kv_heads, self._sharing, self._dim)
        out = q.new_empty(q.shape[0], self._kv_heads * self._sharing * self._dim)
        pages = cache.view(cache.shape[0], -1)
        for gather, asking, target in zip(
            gathers, torch.split(q.view(shape), sizes), torch.split(out.view(shape), sizes), strict=True
        ):
            group = gather.group
            torch.index_select(pages, 0, group.blocks, out=gather.pages)
            if group.decodes:  # the heads that share a KV head are its queries
                target.copy_(
                    scaled_dot_product_attention(asking, gather.keys, gather.values, group.mask, scale=self._scale)
                )
            else:  # the KV heads are the batch
                o = scaled_dot_product_attention(
                    asking.permute(1, 2, 0, 3),
                    gather.keys,
                    gather.values,
                    group.mask,
                    is_causal=group.mask is None,
                    scale=self._scale,
                )
                target.copy_(o.permute(2, 0, 1, 3))
        return out

    def _plan(self, window: int | None) -> list[_Gather]:
        groups = self._decoding(window) + self._prefilling(window)
        most = max(len(group.blocks) for group in groups)
        place = torch.empty(most, self._page.numel(), dtype=self._dtype, device=self._batch.tables.device)
        return [self._gather(group, place[: len(group.blocks)]) for group in groups]

    def _gather(self, group: _Group, pages: Tensor) -> _Gather:
        kv = pages.view(group.rows, -1, *self._page[1:])[:, group.keys]  # [rows, keys, 2, kv_heads, D]
        if group.decodes:
            keys, values = kv.transpose(1, 3).unbind(2)
        else:
            shared = kv[0].permute(1, 2, 0, 3)[:, :, None]  # [2, kv_heads, 1, keys, D]
            keys, values = shared.expand(-1, -1, self._sharing, -1, -1)
        return _Gather(group, pages, keys, values)

    def _decoding(self, window: int | None) -> list[_Group]:
        """Rows with one query each. Their starts ascend, so a group is a range and its last row the longest."""
        rows, first, groups = sum(count == 1 for count in self._batch.counts), 0, []
        while first < rows:
            last, span = self._group(first, rows, window)
            groups.append(
                self._single(first, window) if last == first + 1 else self._several(first, last, span, window)
            )
            first = last
        return groups

    def _single(self, row: int, window: int | None) -> _Group:
        """A row by itself needs no mask: it is given what it sees."""
        size, start = self._block_size, self._batch.starts[row]
        low = 0 if window is None else max(0, start - window + 1)
        origin = low // size
        blocks = self._batch.tables[row, origin : start // size + 1]
        return _Group(1, 1, True, blocks, slice(low - origin * size, start + 1 - origin * size), None)

    def _several(self, first: int, last: int, span: int, window: int | None) -> _Group:
        """Rows [first, last), each padded to `span` blocks."""
        size, tables = self._block_size, self._batch.tables[first:last]
        at = self._batch.device_starts[first:last, None]
        positions = torch.arange(span * size, dtype=torch.int32, device=at.device)
        if window is None:
            blocks, seen = tables[:, :span], positions <= at
        else:
            origin = (at - (window - 1)).clamp_min_(0).div_(size, rounding_mode="floor")  # the first block that is seen
            columns = torch.arange(span, dtype=torch.int32, device=at.device) + origin
            blocks = tables.gather(1, columns.clamp_max_(tables.shape[1] - 1).long())
            positions = positions + origin * size
            seen = (positions <= at) & (positions > at - window)
        mask = torch.zeros(seen.shape, dtype=self._dtype, device=at.device).masked_fill_(~seen, -torch.inf)
        return _Group(last - first, last - first, True, blocks.reshape(-1), slice(None), mask[:, None, None])

    def _group(self, first: int, rows: int, window: int | None) -> tuple[int, int]:
        """How far the group that begins with row `first` goes, and how many blocks each of its rows gets."""
        starts = self._batch.starts
        span = self._span(starts[first], window)
        longest, last = int(span * SLACK) + 2, first + 1
        block_bytes = self._page.numel() * self._dtype.itemsize
        while last < rows:
            wider = self._span(starts[last], window)
            if wider > longest or wider * (last + 1 - first) * block_bytes > GROUP_BYTES:
                break
            last, span = last + 1, wider
        return last, span

    def _span(self, start: int, window: int | None) -> int:
        """Blocks that a query at position `start` may have to read."""
        every = start // self._block_size + 1
        return every if window is None else min(every, (window - 2) // self._block_size + 2)

    def _prefilling(self, window: int | None) -> list[_Group]:
        groups: list[_Group] = []
        for row, (start, count) in enumerate(zip(self._batch.starts, self._batch.counts, strict=True)):
            if count > 1:
                part = max(16, MASK_BYTES // ((start + count) * self._dtype.itemsize))
                groups.extend(
                    self._chunk(row, start + done, min(part, count - done), window) for done in range(0, count, part)
                )
        return groups

    def _chunk(self, row: int, start: int, count: int, window: int | None) -> _Group:
        """Positions [start, start + count) of `row`."""
        size, end = self._block_size, start + count
        origin = 0 if window is None else max(0, start - window + 1) // size
        blocks = self._batch.tables[row, origin : -(-end // size)]
        plain = start == 0 and (window is None or window >= end)
        mask = None if plain else self._causal(start, end, origin * size, window)
        return _Group(count, 1, False, blocks, slice(end - origin * size), mask)

    def _causal(self, start: int, end: int, origin: int, window: int | None) -> Tensor:
        """[end - start, end - origin]: 0 where the query at start + i sees the key at origin + j, else -inf."""
        device = self._batch.tables.device
        ask = torch.arange(start, end, device=device)[:, None]
        key = torch.arange(origin, end, device=device)
        hidden = key > ask
        if window is not None:
            hidden |= key <= ask - window
        return torch.zeros(hidden.shape, dtype=self._dtype, device=device).masked_fill_(hidden, -torch.inf)
