"""The way of a step to the device and of its drawn ids back, without anybody waiting who need not.

    host    write pinned ──┐                                        read result ── slot goes back
    main    ............ copy block ── compute ── drawn ── ended ┐        ▲
    copies  ...................................................  └ copy result ── arrived

What a step in flight has to itself lies in its slot, which nobody else touches until its ids have been read: a slot
that is given back has been uploaded, computed, copied and read. So one pool replaces a wait for each of the four.
"""

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

import torch
from torch import Tensor

from services.engine.worker.columns import Ints
from services.engine.worker.device import Device, Event

DEPTH = 4  # steps that may be in flight; the loop has two

Compute = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True, slots=True)
class Flight:
    """A step on its way. `wait` blocks until its ids are there and gives them; call it exactly once."""

    wait: Callable[[], list[int]]
    begun: Event
    ended: Event


class Slot:
    """What a step in flight has to itself: its block on the host, its drawn ids on the device and on the host."""

    def __init__(self, device: Device, rows: int) -> None:
        self._device = device
        self._pinned = device.pinned(4096)
        self.drawn, self.result = device.empty(rows), device.pinned(rows)

    def hold(self, block: Ints) -> Tensor:
        """The block where copies reach it."""
        if len(self._pinned) < len(block):
            self._pinned = self._device.pinned(2 * len(block))
        host = self._pinned[: len(block)]
        host.copy_(torch.from_numpy(block))
        return host


class Link:
    def __init__(self, device: Device, rows: int) -> None:
        self.late = device.late
        self._device = device
        self._block = device.empty(4096)  # one is enough: `main` fills it and reads it in turn
        self._slots: SimpleQueue[Slot] = SimpleQueue()
        for _ in range(DEPTH):
            self._slots.put(Slot(device, rows))

    def launch(self, block: Ints, sampled: int, compute: Compute) -> Flight:
        """Enqueue a step: `compute` is given the block and where the `sampled` drawn ids go, both on the device.

        Blocks only while DEPTH steps are in flight.
        """
        slot = self._slots.get()
        if len(self._block) < len(block):
            self._block = self._device.empty(2 * len(block))
        there, drawn, result = self._block[: len(block)], slot.drawn[:sampled], slot.result[:sampled]
        main, copies = self._device.main, self._device.copies
        main.copy(there, slot.hold(block))
        begun = main.record()
        main.run(lambda: compute(there, drawn))
        ended = main.record()
        copies.wait(ended)
        copies.copy(result, drawn)
        arrived = copies.record()

        def wait() -> list[int]:
            arrived.synchronize()
            ids: list[int] = result.tolist()
            self._slots.put(slot)
            return ids

        return Flight(wait, begun, ended)
