"""The attention of a step by Triton's kernels: nothing is planned on the host, so all of it can be captured."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.decode_attention.kernel import Scratch, decode_attention, plan_decode
from kernels.prefill_attention.kernel import prefill_attention
from kernels.qk_rope_write.kernel import qk_rope_write
from kernels.step_inputs.kernel import StepInputs
from services.engine.worker.layers.ops import Norm


@dataclass(frozen=True, slots=True)
class Work:
    """The packed work on the device: N rows, S draws. A captured step keeps its own and fills it up with padding."""

    rows: Tensor  # [N] int32; below 0: padding
    starts: Tensor  # [N] int32
    counts: Tensor  # [N] int32
    sampled: Tensor  # [S] int32: indices into the N

    @classmethod
    def empty(cls, rows: int, draws: int, device: torch.device) -> "Work":
        sizes = (rows, rows, rows, draws)
        return cls(*(torch.empty(size, dtype=torch.int32, device=device) for size in sizes))


@dataclass(frozen=True, slots=True)
class Pages:
    """What is the same in every step: where keys lie and how they are read."""

    tables: Tensor  # [R, W] int32: of every row
    rope: Tensor  # [P, 2, D]: `rope_table`
    scratch: Scratch
    programs: int  # of decode attention, for each KV head
    tile: tuple[int, int]  # of prefill attention


class FusedAttend:
    """See `layers.ops.Attend`. The first `singles` rows ask with one token each, the others with more."""

    def __init__(self, pages: Pages, work: Work, inputs: StepInputs, singles: int) -> None:
        self._pages = pages
        self._work = work
        self._inputs = inputs
        self._singles = singles
        self._offsets: dict[int | None, Tensor] = {}  # of decode attention, by window

    def __call__(self, qkv: Tensor, cache: Tensor, norm: Norm | None, window: int | None) -> Tensor:
        pages, work, inputs, singles = self._pages, self._work, self._inputs, self._singles
        weight, eps = (None, 0.0) if norm is None else (norm.weight, norm.eps)
        q = qk_rope_write(qkv, cache, pages.rope, inputs.positions, inputs.slots, weight, eps)
        out = q.new_empty(q.shape[0], q.shape[1] * q.shape[2])
        scale = q.shape[2] ** -0.5
        if singles:
            decode_attention(
                q[:singles],
                cache,
                pages.tables,
                work.rows[:singles],
                inputs.lengths[:singles],
                self._tiles(window),
                scale,
                pages.scratch,
                programs=pages.programs,
                window=window,
                out=out[:singles],
            )
        if singles < len(work.rows):
            prefill_attention(
                q,
                cache,
                pages.tables,
                work.rows[singles:],
                inputs.firsts[singles:],
                work.starts[singles:],
                scale,
                window=window,
                tile=pages.tile,
                out=out,
            )
        return out

    def _tiles(self, window: int | None) -> Tensor:
        """Worked out once in a step for each window, not in each layer."""
        if window not in self._offsets:
            self._offsets[window] = plan_decode(self._inputs.lengths[: self._singles], window)
        return self._offsets[window]
