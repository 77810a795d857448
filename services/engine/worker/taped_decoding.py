"""The layers of a step whose rows compute one token each, as one call."""

from collections.abc import Callable

import torch
from torch import Tensor

from kernels._tape import Tape
from kernels.step_inputs.cpu import StepInputs, empty_inputs
from services.engine.worker.layers.ops import Attend
from services.engine.worker.models.decoder import Decoder


class TapedDecoding:
    """Recorded once, for as many rows as there may be; run for any number. Only for a model that is all loops."""

    def __init__(self, model: Decoder, caches: list[Tensor], attend: Callable[[StepInputs], Attend], rows: int) -> None:
        """`attend` makes the attention of a step of its inputs; `rows` is the most a step has."""
        self._model = model
        self._tape = Tape()
        self.inputs = empty_inputs(rows, rows, 0, rows)  # the first so many are a step's
        self._hidden = torch.empty(rows, model.config.hidden_size, dtype=model.parameters.dtype)
        with self._tape.record():
            model.update(self._hidden, attend(self.inputs), caches)

    def __call__(self, ids: Tensor) -> Tensor:
        """ids [T], the first of `inputs` -> hidden states [T, H], good until the next call."""
        hidden = self._hidden[: len(ids)]
        self._model.embed(ids, hidden)
        self._tape.run(len(ids))
        return hidden
