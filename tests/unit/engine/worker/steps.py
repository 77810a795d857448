"""Plans by hand: a batch of rows that is given logits instead of a model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.step_inputs.cpu import StepInputs
from services.engine.core.step import RowAdd, RowWork, StepPlan
from services.engine.worker.batch import Batch
from services.engine.worker.pack import Header, Packed, Packer, Parts, carve
from services.engine.worker.sampler import Sampler
from shared.types import SamplingParams, TokenIds

CPU = torch.device("cpu")
BLOCK = 4


@dataclass(frozen=True, slots=True)
class Row:
    """A row whose last known token is computed, and so draws the next one."""

    sampling: SamplingParams
    prompt: TokenIds = (1,)
    output: TokenIds = ()


class Bench:
    """A packer, the device's rows and a sampler; no model between them."""

    def __init__(self, rows: int, vocab_size: int, max_model_len: int = 64) -> None:
        self.batch = Batch(rows, max_model_len, BLOCK, CPU)
        self.packer = Packer(self.batch.width, vocab_size)
        self.sampler = Sampler(vocab_size)

    def take(self, plan: StepPlan) -> tuple[Packed, Parts, StepInputs]:
        """Apply a plan as the runner does."""
        packed = self.packer.pack(plan)
        parts = carve(torch.from_numpy(packed.buffer), packed.header)
        host = carve(packed.buffer, packed.header)
        self.batch.apply(parts, host, packed.header)
        return packed, parts, self.batch.inputs(parts, host, packed.header)

    def draw(self, rows: Sequence[Row], logits: Tensor) -> tuple[TokenIds, Tensor]:
        """One token for each row from logits [rows, vocab]: the ids, and what they were drawn from [rows, vocab]."""
        packed, parts, inputs = self.take(drawing_plan(rows))
        order = list(packed.order)
        shaped = logits[order].clone()
        self.sampler.shape(shaped, self.batch, inputs, parts, packed.header)
        drawn = self.sampler(logits[order].clone(), self.batch, inputs, parts, packed.header)
        back = torch.empty_like(shaped)
        back[order] = shaped
        return packed.in_plan_order(drawn.tolist()), back


def drawing_plan(rows: Sequence[Row], step: int = 0) -> StepPlan:
    """Each row is added whole and computes its last token."""
    added, work = [], []
    for index, row in enumerate(rows):
        known = row.prompt + row.output
        blocks = tuple(range(-(-len(known) // BLOCK)))
        added.append(RowAdd(index, known, len(row.prompt), blocks, row.sampling))
        work.append(RowWork(index, len(known) - 1, 1, True))
    return StepPlan(step, (), tuple(added), (), tuple(work))


def header_of(packed: Packed) -> Header:
    """The header as it stands in the block itself."""
    return Header(*packed.buffer[: len(Header._fields)].tolist())
