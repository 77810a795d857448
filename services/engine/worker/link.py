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
from services.engine.worker.device import Device
from services.engine.worker.flight import Event, Flight

DEPTH = 4  # steps that may be in flight; the loop has two

Compute = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True, slots=True)
class Late:
    """What a step does once the one before it is known: `words` blocks for it, `draw` gets them on the device."""

    words: Callable[[], Ints]
    draw: Compute  # the words, and where the results go


class Slot:
    """What a step in flight has to itself: its block on the host, its results on the device and on the host."""

    def __init__(self, device: Device, rows: int) -> None:
        self._device = device
        self._pinned = device.pinned(4096)
        self._words: Tensor | None = None  # pinned too
        self.drawn, self.result = device.empty(rows), device.pinned(rows)

    def make_room(self, results: int) -> None:
        """For what a step brings beside its ids."""
        if len(self.result) < results:
            self.drawn, self.result = self._device.empty(2 * results), self._device.pinned(2 * results)

    def hold(self, block: Ints) -> Tensor:
        """The block where copies reach it."""
        if len(self._pinned) < len(block):
            self._pinned = self._device.pinned(2 * len(block))
        host = self._pinned[: len(block)]
        host.copy_(torch.from_numpy(block))
        return host

    def hold_words(self, words: Ints) -> Tensor:
        """What came later, beside the block."""
        if self._words is None or len(self._words) < words.size:
            self._words = self._device.pinned(words.size)
        host = self._words[: words.size]
        host.copy_(torch.from_numpy(words.reshape(-1)))
        return host


class Link:
    def __init__(self, device: Device, rows: int) -> None:
        self.late = device.late
        self._device = device
        self._block = device.empty(4096)  # one is enough: `main` fills it and reads it in turn
        self._words = device.empty(0)  # as the block
        self._slots: SimpleQueue[Slot] = SimpleQueue()
        for _ in range(DEPTH):
            self._slots.put(Slot(device, rows))

    def launch(self, block: Ints, results: int, compute: Compute, late: Late | None = None) -> Flight:
        """Enqueue a step: `compute` is given the block and where its `results` go, both on the device.

        Blocks only while DEPTH steps are in flight, and for what `late` waits for.
        """
        slot = self._slots.get()
        if len(self._block) < len(block):
            self._block = self._device.empty(2 * len(block))
        slot.make_room(results)
        there, drawn, result = self._block[: len(block)], slot.drawn[:results], slot.result[:results]
        main, copies = self._device.main, self._device.copies
        main.copy(there, slot.hold(block))
        begun = main.record()
        main.run(lambda: compute(there, drawn))
        ended = main.record()
        if late is not None:
            ended = self._launch_late(late, slot, drawn)
        copies.wait(ended)
        copies.copy(result, drawn)
        arrived = copies.record()

        def wait() -> list[int]:
            arrived.synchronize()
            ids: list[int] = result.tolist()
            self._slots.put(slot)
            return ids

        return Flight(wait, begun, ended)

    def _launch_late(self, late: Late, slot: Slot, drawn: Tensor) -> Event:
        """More of the same step, behind what is enqueued of it. Returns the new end."""
        words, main = late.words(), self._device.main
        if len(self._words) < words.size:
            self._words = self._device.empty(words.size)
        there = self._words[: words.size]
        main.copy(there, slot.hold_words(words))
        main.run(lambda: late.draw(there.view(words.shape), drawn))
        return main.record()
