"""One step on the device: its block goes up, the program computes, the ids come down."""

from functools import partial
from typing import Protocol

from torch import Tensor

from services.engine.worker.device import Device
from services.engine.worker.group import Group
from services.engine.worker.link import Flight, Link
from services.engine.worker.pack import Packed


class Program(Protocol):
    """What a step does on the device between the arrival of its block and its drawn ids."""

    replayed: int  # steps so far that were captured ones

    def __call__(self, block: Tensor, packed: Packed, drawn: Tensor) -> None:
        """Take in the difference that `block` holds, run the model, and write the drawn ids [sampled] to `drawn`.

        Of `packed` only what the host knows may be read. Called in the order of the steps.
        """
        ...


class Runner:
    """Launches steps one after the other, from one thread."""

    def __init__(self, device: Device, program: Program, group: Group, *, rows: int) -> None:
        self._program = program
        self._group = group
        self._link = Link(device, rows)
        self.late = device.late

    @property
    def graph_steps(self) -> int:
        """Steps so far that were replayed as they had been captured."""
        return self._program.replayed

    def launch(self, packed: Packed) -> Flight:
        return self._link.launch(packed.buffer, packed.header.sampled, partial(self._compute, packed))

    def _compute(self, packed: Packed, block: Tensor, drawn: Tensor) -> None:
        self._program(block, packed, drawn)

    def close(self) -> None:
        self._group.leave()
