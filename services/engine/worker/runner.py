"""One step on the device: apply the difference, run the model, draw, send the ids on their way."""

import torch

from kernels.paged_attention import PagedAttention, PagedBatch
from kernels.rope import rope_table
from services.engine.worker import kv_cache
from services.engine.worker.batch import Batch, StepInputs
from services.engine.worker.layers.attention import Positions
from services.engine.worker.layers.rope import frequencies
from services.engine.worker.link import Link, Wait
from services.engine.worker.models import Decoder
from services.engine.worker.pack import Packed, Parts, carve
from services.engine.worker.sampler import Sampler


class Runner:
    """Owns the rows, the KV cache and the model. Steps are launched one after the other, from one thread."""

    def __init__(
        self, model: Decoder, link: Link, *, rows: int, max_model_len: int, num_blocks: int, block_size: int
    ) -> None:
        """Raises ConfigError if the KV cache does not fit into memory."""
        device, dtype = model.parameters.device, model.parameters.dtype
        config = model.config
        self.num_blocks = num_blocks
        self.max_model_len = max_model_len
        self.vocab_size = config.vocab_size
        self.waits_apart = link.waits_apart
        self._model = model
        self._link = link
        self._batch = Batch(rows, max_model_len, block_size, device)
        self._sampler = Sampler(config.vocab_size, device)
        self._rope = rope_table(frequencies(config.rope, config.head_dim).to(device), max_model_len, dtype)
        self._caches = kv_cache.allocate(config, num_blocks, block_size, device=device, dtype=dtype)

    @property
    def table_width(self) -> int:
        """Blocks that a row's table has room for."""
        return self._batch.width

    @torch.inference_mode()
    def launch(self, packed: Packed) -> Wait:
        """Calling the result waits for the step and gives the drawn ids in packed order."""
        header = packed.header
        host = carve(packed.buffer, header)
        with self._link.running():
            parts = carve(self._link.up(packed.buffer), header)
            self._batch.apply(parts, host, header)
            inputs = self._batch.inputs(parts, host, header)
            hidden = self._model.forward(inputs.ids, self._positions(inputs, parts, host), self._caches)
            if not header.sampled:
                return self._link.down(inputs.drawing)  # empty, and as late as the step
            logits = self._model.logits(hidden.index_select(0, inputs.last))
            drawn = self._sampler(logits, self._batch, inputs, parts, header)
            self._batch.store(inputs, drawn)
            return self._link.down(drawn)

    def _positions(self, inputs: StepInputs, parts: Parts, host: Parts) -> Positions:
        config = self._model.config
        asked = PagedBatch(inputs.tables, parts.starts, tuple(host.starts.tolist()), tuple(host.counts.tolist()))
        page = self._caches[0].shape[1:]
        attend = PagedAttention(asked, page, config.num_heads, self._rope.dtype, config.head_dim**-0.5)
        return Positions(self._rope.index_select(0, inputs.positions), inputs.slots, attend)
