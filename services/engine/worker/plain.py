"""A step as a CPU is fastest: exact sizes, compiled loops, and torch's operators for what is rare."""

import torch
from torch import Tensor

from kernels.bitmask import bitmask
from kernels.logprobs import logprobs
from kernels.paged_attention.batch import Page, PagedBatch
from kernels.paged_attention.cpu import PagedAttention
from kernels.step_inputs.cpu import StepInputs
from services.engine.worker import scores
from services.engine.worker.batch import Batch
from services.engine.worker.models.decoder import Decoder
from services.engine.worker.pack import Header, Packed, Parts, carve
from services.engine.worker.plain_attention import PlainAttend
from services.engine.worker.sampler import Sampler
from services.engine.worker.taped_decoding import TapedDecoding
from services.engine.worker.threads import Threads


class PlainProgram:
    """See `runner.Program`. Owns the rows; the model's caches are its own as long as it runs."""

    replayed = 0  # nothing is captured on a CPU

    def __init__(
        self,
        model: Decoder,
        caches: list[Tensor],
        rope: Tensor,
        threads: Threads,
        *,
        rows: int,
        max_model_len: int,
        block_size: int,
    ) -> None:
        device = model.parameters.device
        self._model = model
        self._caches = caches
        self._rope = rope
        self._threads = threads
        self._batch = Batch(rows, max_model_len, block_size, device)
        self._sampler = Sampler(model.config.vocab_size)
        self._taped = min(rows, model.of_loops)  # rows of a step that is one call
        self._decoding = TapedDecoding(model, caches, self._attend, self._taped) if self._taped else None
        self._undrawn: tuple[Tensor, Tensor, StepInputs, Parts] | None = None  # of a step that waits for masks

    @torch.inference_mode()
    def __call__(self, block: Tensor, packed: Packed, out: Tensor) -> None:
        header = packed.header
        self._threads.set_for(header.computed)
        parts, host = carve(block, header), carve(packed.buffer, header)
        self._batch.apply(parts, host, header)
        if self._decoding is not None and 0 < header.work == header.singles <= self._taped:
            inputs = self._batch.inputs(parts, host, header, self._decoding.inputs.first(header.work, header.sampled))
            hidden = self._decoding(inputs.ids)
        else:
            inputs = self._batch.inputs(parts, host, header)
            hidden = self._model.forward(inputs.ids, self._attend(inputs), self._caches)
        if header.probed:
            into, known = out[header.scores_end :], hidden.index_select(0, parts.probed)
            scores.write_prompts(self._model, known, parts.targets, header.most_scores, into, logprobs)
        if header.sampled:
            logits = self._model.logits(hidden.index_select(0, inputs.last))
            raw = logits.index_select(0, parts.scored) if header.scored else logits  # what follows works in place
            if packed.masked:
                self._undrawn = logits, raw, inputs, parts
            else:
                self._draw(logits, raw, inputs, parts, header, out)

    @torch.inference_mode()
    def draw_masked(self, words: Tensor, packed: Packed, out: Tensor) -> None:
        """On a CPU nothing is drawn before: by now the step before has run, so its masks are there or nearly."""
        assert self._undrawn is not None
        (logits, raw, inputs, parts), self._undrawn = self._undrawn, None
        logits.index_copy_(0, parts.masked.long(), bitmask(logits, parts.masked, words))
        self._draw(logits, raw, inputs, parts, packed.header, out)

    def _draw(self, logits: Tensor, raw: Tensor, inputs: StepInputs, parts: Parts, header: Header, out: Tensor) -> None:
        """`raw`: the logits of the scored rows as the model made them."""
        drawn = out[: header.sampled]
        drawn.copy_(self._sampler(logits, self._batch, inputs, parts, header))
        self._batch.store(inputs, drawn)
        if header.scored:
            scored = drawn.index_select(0, parts.scored)
            scores.write(raw, scored, header.most_scores, out[header.sampled : header.scores_end], logprobs)

    def _attend(self, inputs: StepInputs) -> PlainAttend:
        config, tables = self._model.config, self._batch.tables
        page = Page(self._batch.block_size, config.num_kv_heads, config.head_dim)
        asked = PagedBatch(tables, inputs.decoding, inputs.prefilling)
        attention = PagedAttention(asked, page, config.num_heads, config.head_dim**-0.5)
        return PlainAttend(page, self._rope, inputs.positions, inputs.slots, attention)
