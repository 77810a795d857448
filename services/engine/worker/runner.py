"""One step on the device: its block goes up, the program computes, the ids come down."""

from dataclasses import replace
from functools import partial
from typing import Protocol

from torch import Tensor

from services.engine.worker.device import Device
from services.engine.worker.flight import Flight
from services.engine.worker.group import Group
from services.engine.worker.link import Late, Link
from services.engine.worker.masks import Once, Source
from services.engine.worker.pack import Packed


class Program(Protocol):
    """What a step does on the device between the arrival of its block and its drawn ids."""

    replayed: int  # steps so far that were captured ones

    def __call__(self, block: Tensor, packed: Packed, out: Tensor) -> None:
        """Take in the difference that `block` holds, run the model, and write the results to `out`: the drawn
        ids [sampled], behind them their scores.

        Of `packed` only what the host knows may be read. Called in the order of the steps. If rows of it wait for
        masks, `draw_masked` comes next.
        """
        ...

    def draw_masked(self, words: Tensor, packed: Packed, out: Tensor) -> None:
        """The rest of the same step: `words` [masked, W] holds a bit for each id that may be drawn."""
        ...


class Runner:
    """Launches steps one after the other, from one thread."""

    def __init__(self, device: Device, program: Program, group: Group, masks: Source, *, rows: int) -> None:
        self._program = program
        self._group = group
        self._masks = masks
        self._link = Link(device, rows)
        self.late = device.late

    @property
    def graph_steps(self) -> int:
        """Steps so far that were replayed as they had been captured."""
        return self._program.replayed

    def launch(self, packed: Packed) -> Flight:
        if packed.masked or packed.constrained is not None:
            return self._launch_constrained(packed)
        return self._link.launch(packed.buffer, packed.header.results, partial(self._compute, packed))

    def _launch_constrained(self, packed: Packed) -> Flight:
        """The masks are made in other threads, while the step is enqueued and computed up to its logits."""
        results, compute, masks = packed.header.results, partial(self._compute, packed), Once(self._masks.begin(packed))
        if not packed.masked:
            return self._link.launch(packed.buffer, results, compute)
        late = Late(lambda: masks().words, lambda words, out: self._program.draw_masked(words, packed, out))
        flight = self._link.launch(packed.buffer, results, compute, late)
        flight = replace(flight, wait=Once(flight.wait), faults=masks().faults)
        self._masks.follow(packed, flight)
        return flight

    def _compute(self, packed: Packed, block: Tensor, out: Tensor) -> None:
        self._program(block, packed, out)

    def close(self) -> None:
        self._masks.close()
        self._group.leave()
