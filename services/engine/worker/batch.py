"""The rows of the device: token ids, block tables and sampling parameters of every request that runs.

What a step brings is a difference (`pack`); what the model is given, `StepInputs`, is made from the rows.
The last drawn id of a row stands in `tokens`, where the next step reads it: the host need not know it.
"""

import torch
from torch import Tensor

from kernels.paged_attention.batch import TILE
from kernels.step_inputs.cpu import StepInputs, empty_inputs, step_inputs, store
from services.engine.worker.columns import Column
from services.engine.worker.pack import Header, Parts
from services.engine.worker.rows import Rows


class Batch(Rows):
    """The rows, changed by torch's operators, read by loops. `apply`, then `inputs`, then `store`, in each step."""

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

    def inputs(self, parts: Parts, host: Parts, header: Header, out: StepInputs | None = None) -> StepInputs:
        """Into `out`, if it is given, which has the sizes of this step."""
        if out is None:
            tiles = sum(-(-count // TILE) for count in host.counts[header.singles :].tolist())
            out = empty_inputs(header.computed, header.singles, tiles, header.sampled)
        given = parts.rows, parts.starts, parts.counts, parts.sampled
        step_inputs(self.tokens, self.tables, *given, self.block_size, out)
        return out

    def store(self, inputs: StepInputs, drawn: Tensor) -> None:
        """The drawn ids [S] int32 take their places in the rows."""
        store(self.tokens, inputs, drawn)
