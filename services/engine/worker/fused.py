"""A step by Triton's kernels: the difference goes in, and what follows is either enqueued or replayed from a graph.

Only sizes are read on the host, never values, so nothing here waits for the device. A step in which every row computes
one token and draws the next is a decode step: it is padded to the next captured size and replayed whole, from its
inputs to the drawn ids, with the LM head and the sampler. All others are enqueued kernel by kernel.
"""

from functools import partial

import torch
from torch import Tensor

from kernels.bitmask.kernel import bitmask
from kernels.decode_attention.kernel import choose_programs, decode_scratch
from kernels.draw.kernel import draw
from kernels.logprobs.kernel import logprobs
from kernels.penalties.kernel import penalise
from kernels.prefill_attention.kernel import choose_tile
from kernels.row_update.kernel import Sizes, row_update
from kernels.steer.kernel import steer
from kernels.step_inputs.kernel import StepInputs, empty_inputs, step_inputs
from services.engine.worker import scores
from services.engine.worker.columns import Column
from services.engine.worker.device import Device, Job
from services.engine.worker.fused_attention import FusedAttend, Pages, Work
from services.engine.worker.models.decoder import Decoder
from services.engine.worker.pack import Header, Packed, carve
from services.engine.worker.rows import Rows
from services.engine.worker.score_layout import SIZES
from shared.checkpoint import Progress
from shared.types import MAX_LISTED


class _Captured:
    """A decode step of one size: the memory it reads and writes, and how to replay it."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.work = Work.empty(size, size, device)
        self.work.rows.fill_(-1)
        self.work.starts.zero_()
        self.work.counts.fill_(1)
        self.work.sampled.copy_(torch.arange(size))
        self.drawn = torch.empty(size, dtype=torch.int32, device=device)
        self.replay: Job = lambda: None  # until it is captured


class FusedProgram:
    """See `runner.Program`. Owns the rows, the scratch memory of the kernels and the captured steps."""

    def __init__(
        self,
        model: Decoder,
        caches: list[Tensor],
        rope: Tensor,
        device: Device,
        *,
        rows: int,
        max_model_len: int,
        block_size: int,
    ) -> None:
        config = model.config
        self._model = model
        self._caches = caches
        self._device = device
        self._rows = Rows(rows, max_model_len, block_size, MAX_LISTED, device.torch)
        programs = choose_programs(device.processors, config.num_kv_heads, device.generation)
        scratch = decode_scratch(programs, rows, config.num_heads, config.head_dim, device.torch)
        tile = choose_tile(device.generation, 128)
        self._pages = Pages(self._rows.tables, rope, scratch, programs, tile)
        self._counts = torch.zeros(rows, config.vocab_size, dtype=torch.int32, device=device.torch)  # of `penalise`
        # Every step's, captured or not: where rows that wait for masks find theirs, penalised and with forbidden stops.
        self._logits = torch.empty(rows, config.vocab_size, dtype=torch.float32, device=device.torch)
        self._latest: tuple[Work, Tensor, Tensor | None, Tensor | None] | None = None  # of a step that waits for masks
        self._captured: dict[int, _Captured] = {}
        self._sizes: list[int] = []
        self.replayed = 0  # steps

    @torch.inference_mode()
    def __call__(self, block: Tensor, packed: Packed, out: Tensor) -> None:
        header, drawn = packed.header, out[: packed.header.sampled]
        at = carve(block, header).scored if header.scored else None
        raw: Tensor | None = None
        captured = self._fitting(packed)
        if captured is None:
            work = Work.empty(header.work, header.sampled, self._device.torch)
            self._take_in(block, header, work)
            hidden, inputs = self._forward(work, header.computed, header.singles)
            if header.probed:
                parts, into = carve(block, header), out[header.scores_end :]
                known = hidden.index_select(0, parts.probed)
                scores.write_prompts(self._model, known, parts.targets, header.most_scores, into, logprobs)
            raw = self._draw(work, hidden, inputs, drawn, at)
        else:
            work = captured.work
            self._take_in(block, header, work)
            captured.replay()
            drawn.copy_(captured.drawn[: header.sampled])
            self.replayed += 1
        if packed.masked:
            self._latest = work, block[len(block) - packed.masked :], at, raw
        else:
            _score(at, raw, header, out)

    @torch.inference_mode()
    def draw_masked(self, words: Tensor, packed: Packed, out: Tensor) -> None:
        """Rows with a mask draw again, from what it allows; what they drew without it is written over."""
        assert self._latest is not None
        (work, masked, at, raw), self._latest = self._latest, None
        self._draw_again(work, masked, words, out[: packed.header.sampled])
        _score(at, raw, packed.header, out)

    def _draw_again(self, work: Work, masked: Tensor, words: Tensor, drawn: Tensor) -> None:
        rows, at = self._rows, work.sampled.index_select(0, masked)
        drawing = work.rows.index_select(0, at)
        ends = work.starts.index_select(0, at) + work.counts.index_select(0, at)
        knobs = rows.parameters[:, Column.SEED_LOW : Column.PRESENCE]
        again = draw(bitmask(self._logits, masked, words), knobs, drawing, ends, tokens=rows.tokens)
        drawn.index_copy_(0, masked.long(), again)

    def capture(self, sizes: list[int], progress: Progress) -> None:
        """Record decode steps of these numbers of rows, largest first, so that the smaller find room in its memory."""
        for number, size in enumerate(sorted(sizes, reverse=True)):
            progress(f"capturing decode steps of {size} rows", number / len(sizes))
            captured = _Captured(size, self._device.torch)
            step = torch.inference_mode()(partial(self._compute, captured.work, size, size, captured.drawn))
            self._device.main.run(step)  # compiles
            captured.replay = self._device.capture(step)
            self._captured[size] = captured
        self._sizes = sorted(self._captured)

    @torch.inference_mode()
    def rehearse(self, tokens: int, rows: int) -> None:
        """Run a step as large as steps get, so that its memory can be measured; nothing may be in the rows yet.

        Each of `rows` rows brings an equal part of `tokens`, draws and is scored; all write to block 0 of the cache.
        """
        work = Work.empty(rows, rows, self._device.torch)
        each = min(-(-tokens // rows), self._rows.tokens.shape[1] - 1)
        every = torch.arange(rows, dtype=torch.int32, device=self._device.torch)
        for part, values in ((work.rows, every), (work.sampled, every), (work.starts, 0 * every)):
            part.copy_(values)
        work.counts.fill_(each)
        singles = rows if each == 1 else 0
        hidden, inputs = self._forward(work, each * rows, singles)
        self._draw(work, hidden, inputs, torch.empty_like(every), scored=every)

    @torch.inference_mode()
    def compile_rare(self) -> None:
        """So that no request waits for the compiler; nothing may be in the rows yet."""
        work = _Captured(1, self._device.torch).work
        work.rows.zero_()
        words = work.rows.new_full((1, -(-self._logits.shape[1] // 32)), -1)
        self._draw_again(work, work.sampled, words, torch.empty_like(work.rows))
        for k in SIZES:
            logprobs(self._logits[:1], torch.zeros_like(work.rows), min(k, self._logits.shape[1]))

    def _fitting(self, packed: Packed) -> _Captured | None:
        if packed.decodes and not packed.header.scored:  # a captured step keeps no logits from before `steer`
            for size in self._sizes:
                if size >= packed.header.work:
                    return self._captured[size]
        return None

    def _take_in(self, block: Tensor, header: Header, work: Work) -> None:
        rows = self._rows
        sizes = Sizes(
            skip=len(header),
            added=header.added,
            tokens=header.tokens,
            listed=header.listed,
            blocks=header.blocks,
            work=header.work,
            draws=header.sampled,
        )
        row_update(
            block,
            rows.tokens,
            rows.tables,
            rows.parameters,
            rows.lists,
            work.rows,
            work.starts,
            work.counts,
            work.sampled,
            sizes,
        )

    def _compute(self, work: Work, tokens: int, singles: int, drawn: Tensor) -> None:
        """From the rows to the drawn ids, which also take their places in the rows."""
        self._draw(work, *self._forward(work, tokens, singles), drawn)

    def _forward(self, work: Work, tokens: int, singles: int) -> tuple[Tensor, StepInputs]:
        """The hidden states [tokens, H], and what they were computed from."""
        rows = self._rows
        out = empty_inputs(tokens, len(work.rows), len(work.sampled), self._device.torch)
        inputs = step_inputs(
            rows.tokens, rows.tables, work.rows, work.starts, work.counts, work.sampled, rows.block_size, out=out
        )
        attend = FusedAttend(self._pages, work, inputs, singles)
        return self._model.forward(inputs.ids, attend, self._caches), inputs

    def _draw(
        self, work: Work, hidden: Tensor, inputs: StepInputs, drawn: Tensor, scored: Tensor | None = None
    ) -> Tensor | None:
        """Returns the logits of those that are `scored`, as the model made them."""
        if not len(work.sampled):
            return None
        rows = self._rows
        logits = self._model.logits(hidden.index_select(0, inputs.last), self._logits[: len(work.sampled)])
        raw = None if scored is None else logits.index_select(0, scored)  # what follows works in place
        columns, drawing, ends = rows.parameters, inputs.drawing, inputs.ends
        penalties, knobs = columns[:, Column.PRESENCE :], columns[:, Column.SEED_LOW : Column.PRESENCE]
        steer(logits, rows.lists, columns[:, Column.PROMPT_LEN : Column.SEED_LOW], rows.tokens, drawing, ends)
        penalise(logits, rows.tokens, penalties, drawing, ends, columns[:, Column.PROMPT_LEN], self._counts)
        draw(logits, knobs, drawing, ends, tokens=rows.tokens, out=drawn)
        return raw


def _score(at: Tensor | None, raw: Tensor | None, header: Header, out: Tensor) -> None:
    """The scores behind the drawn ids, of those at `at`, whose logits are `raw`."""
    if at is not None and raw is not None:
        drawn = out[: header.sampled].index_select(0, at)
        scores.write(raw, drawn, header.most_scores, out[header.sampled : header.scores_end], logprobs)


def capture_sizes(most: int) -> list[int]:
    """Numbers of rows to capture, up to `most`: close together where steps are short, so that padding costs little."""
    sizes = [1, 2, 4, *range(8, 64, 8), *range(64, 256, 16), *range(256, most + 1, 32)]
    return sorted({size for size in sizes if size < most} | {most})
