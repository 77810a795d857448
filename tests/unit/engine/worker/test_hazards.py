"""Nothing is read before it is there, and nothing is written while it is needed, however late or early a device is.

The way of a step (`worker/link.py`) is run on simulated devices of every temper. To show that this would be noticed,
each wait, each event and each rotation is deleted from its source in turn: each time some device must give wrong ids.
"""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from random import Random
from threading import Thread
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from services.engine.worker import link
from services.engine.worker.flight import Flight
from tests.late_device import LateDevice

TEMPERS = ("", "main", "copies", "main copies")  # the streams that run ahead; the others are as late as may be
ROWS, STEPS = 3, 24


class Compute:
    """A step whose ids depend on its block and on all steps before it, as rows on a device do."""

    def __init__(self) -> None:
        self.state = 0

    def __call__(self, block: Tensor, drawn: Tensor) -> None:
        self.state = (31 * self.state + int(block.sum())) % 1_000_003
        drawn.copy_(block[: len(drawn)] + self.state)


def pipelined(flights: list[int], rng: Random) -> list[int]:
    """As the engine does: the second step is launched before the first is waited for."""
    return flights[:1] if len(flights) == 2 else []


def crowded(flights: list[int], rng: Random) -> list[int]:
    """As many in flight as there may be, and then all are read, the last one first."""
    return flights[::-1] if len(flights) == link.DEPTH else []


def at_random(flights: list[int], rng: Random) -> list[int]:
    """Any of those in flight, at any time."""
    return rng.sample(flights, rng.randint(len(flights) == link.DEPTH, len(flights)))


READERS = (pipelined, crowded, at_random)


def ids(module: ModuleType, temper: str, reader: Callable[[list[int], Random], list[int]]) -> list[list[int]]:
    """What each step draws on such a device, read in such an order."""
    rng, way = Random(temper + reader.__name__), module.Link(LateDevice(eager=temper), ROWS)
    compute, flights, drawn = Compute(), dict[int, Any](), dict[int, list[int]]()
    for step in range(STEPS):
        size = 5000 * step + 8 if step in (7, 8) else 8 + step % 5  # two outgrow their buffers
        flights[step] = way.launch(np.arange(step, step + size, dtype=np.int32), 1 + step % ROWS, compute)
        for one in reader(list(flights), rng):
            drawn[one] = flights.pop(one).wait()
    for one in list(flights):
        drawn[one] = flights.pop(one).wait()
    return [drawn[step] for step in range(STEPS)]


EXPECTED = ids(link, "main copies", pipelined)


def test_what_is_expected_is_what_is_computed_step_by_step() -> None:
    """The fastest device that is read at once has no hazards: its ids are those of plain arithmetic."""
    state = 0
    for step, drawn in enumerate(EXPECTED):
        size = 5000 * step + 8 if step in (7, 8) else 8 + step % 5
        state = (31 * state + sum(range(step, step + size))) % 1_000_003
        assert drawn == [step + k + state for k in range(1 + step % ROWS)]


@pytest.mark.parametrize("temper", TEMPERS)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_the_ids_do_not_depend_on_how_late_the_device_is(
    temper: str, reader: Callable[[list[int], Random], list[int]]
) -> None:
    """Every temper of a device, and every order in which results are read."""
    assert ids(link, temper, reader) == EXPECTED


ONCE = "(ONE.setdefault({!r}, slot))"
DELETIONS = {
    "the copy does not wait for the step": ("        copies.wait(ended)\n", ""),
    "the ids are read before they have arrived": ("            arrived.synchronize()\n", ""),
    "the event that the host awaits comes before the copy": (
        "        copies.copy(result, drawn)\n        arrived = copies.record()\n",
        "        arrived = copies.record()\n        copies.copy(result, drawn)\n",
    ),
    "the event that ends a step comes before it": (
        "        main.run(lambda: compute(there, drawn))\n        ended = main.record()\n",
        "        ended = main.record()\n        main.run(lambda: compute(there, drawn))\n",
    ),
    "the block is computed with before it is there": (
        "        main.copy(there, slot.hold(block))\n",
        "        main.copy(there, slot.hold(block)) if ONE.setdefault('n', slot) is slot else None\n",
    ),
    "pinned memory does not go round": ("slot.hold(block)", ONCE.format("pinned") + ".hold(block)"),
    "drawn ids do not go round": ("slot.drawn", ONCE.format("drawn") + ".drawn"),
    "results do not go round": ("slot.result", ONCE.format("result") + ".result"),
    "a slot is given back before it has been read": (
        "            self._slots.put(slot)\n            return ids\n\n",
        "            return ids\n\n        self._slots.put(slot)\n",
    ),
}


@pytest.mark.parametrize("deletion", DELETIONS)
def test_without_it_some_device_gives_wrong_ids(deletion: str) -> None:
    """Each deletion is made in the source of the link itself, so this stays true when the link changes."""
    before, after = DELETIONS[deletion]
    source = Path(link.__file__).read_text()
    assert source.count(before) == 1

    def drawn_without_it(temper: str, reader: Callable[[list[int], Random], list[int]]) -> list[list[int]]:
        module = ModuleType("link")
        vars(module).update({"ONE": {}, "__name__": link.__name__})
        exec(compile(source.replace(before, after), link.__file__, "exec"), vars(module))
        return ids(module, temper, reader)

    assert any(drawn_without_it(temper, reader) != EXPECTED for temper, reader in product(TEMPERS, READERS))


def test_steps_are_launched_without_waiting_while_slots_are_left() -> None:
    """DEPTH steps are enqueued and nobody has waited for the device; the next one waits until a result is read."""
    device = LateDevice()
    way, compute, block = link.Link(device, ROWS), Compute(), np.arange(8, dtype=np.int32)
    flights = [way.launch(block, 1, compute) for _ in range(link.DEPTH)]
    assert device.synchronized == 0
    assert link.DEPTH > 2  # the loop has two in flight
    more: list[Flight] = []
    launching = Thread(target=lambda: more.append(way.launch(block, 1, compute)))
    launching.start()
    first = flights[0].wait()
    launching.join()
    states = [0]
    for _ in range(link.DEPTH + 1):
        states.append((31 * states[-1] + 28) % 1_000_003)
    assert [first, *(flight.wait() for flight in (*flights[1:], *more))] == [[state] for state in states[1:]]
