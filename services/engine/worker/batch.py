"""The rows of the device: token ids, block tables and sampling parameters of every request that runs.

What a step brings is a difference (`pack`); what the model is given, `StepInputs`, is made from the rows on the device.
The last drawn id of a row stands in `tokens`, where the next step reads it: the host need not know it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from services.engine.worker.columns import Column
from services.engine.worker.pack import Header, Parts
from services.engine.worker.rows import Rows


@dataclass(frozen=True, slots=True)
class StepInputs:
    """T tokens of N rows, in the order of the packed work; S of the rows draw a token."""

    ids: Tensor  # [T] int32
    positions: Tensor  # [T] int32
    slots: Tensor  # [T] int64: places in the KV cache
    tables: Tensor  # [N, W] int32: block ids, W enough for the longest row
    last: Tensor  # [S] int32: which of the T tokens is the last of each row that draws
    drawing: Tensor  # [S] int32: the rows that draw
    ends: Tensor  # [S] int32: the positions of the drawn tokens


class Batch(Rows):
    """The rows, changed and read by torch's operators. `apply`, then `inputs`, then `store`, once for each step."""

    def __init__(self, rows: int, max_model_len: int, block_size: int, device: torch.device) -> None:
        super().__init__(rows, max_model_len, block_size, listed=1, device=device)  # lists grow by need

    def apply(self, parts: Parts, host: Parts, header: Header) -> None:
        """Take in a step's difference. `host` holds the same values as `parts`, readable without waiting."""
        if header.added:
            rows = parts.added.view(header.added, len(Column))
            self.parameters.index_copy_(0, rows[:, Column.ROW].long(), rows)
            token = place = 0
            for columns in host.added.reshape(header.added, len(Column)).tolist():
                row, length, listed = columns[Column.ROW], columns[Column.LENGTH], columns[Column.LISTED]
                self.tokens[row, :length] = parts.tokens[token : token + length]
                self._list(row, parts.lists[place : place + listed])
                token, place = token + length, place + listed
        if header.blocks:
            self.tables.view(-1).index_copy_(0, parts.block_at.long(), parts.block_ids)

    def _list(self, row: int, numbers: Tensor) -> None:
        if len(numbers) > self.lists.shape[1]:
            more = self.lists.new_zeros(len(self.lists), len(numbers) - self.lists.shape[1])
            self.lists = torch.cat((self.lists, more), dim=1)
        self.lists[row, : len(numbers)] = numbers

    def inputs(self, parts: Parts, host: Parts, header: Header) -> StepInputs:
        rows, starts, counts = parts.rows, parts.starts, parts.counts
        total = header.computed
        ends = starts + counts
        if header.singles == header.work:
            of_token, positions, last = rows, starts, parts.sampled
        else:
            after = counts.cumsum(0, dtype=torch.int32)  # tokens up to the end of each row
            of_work = torch.repeat_interleave(counts, output_size=total)
            positions = torch.arange(total, dtype=torch.int32, device=rows.device) + (ends - after)[of_work]
            of_token, last = rows[of_work], after[parts.sampled] - 1
        ids = self.tokens.view(-1).index_select(0, of_token * self.tokens.shape[1] + positions)
        pages = positions.div(self.block_size, rounding_mode="floor")
        blocks = self.tables.view(-1).index_select(0, of_token * self.width + pages)
        slots = blocks.long().mul_(self.block_size).add_(positions - pages * self.block_size)
        widest = int((host.starts + host.counts - 1).max()) // self.block_size + 1
        tables = self.tables[:, :widest].index_select(0, rows)
        return StepInputs(ids, positions, slots, tables, last, rows[parts.sampled], ends[parts.sampled])

    def store(self, inputs: StepInputs, drawn: Tensor) -> None:
        """The drawn ids [S] int32 take their places in the rows."""
        at = inputs.drawing.long() * self.tokens.shape[1] + inputs.ends
        self.tokens.view(-1).index_copy_(0, at, drawn)
