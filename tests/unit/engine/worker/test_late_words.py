"""What goes up behind a step is there when it is read, however late a device is: shown by deletions in the source of
the link, as in `test_hazards.py`."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from services.engine.worker import link, masks
from tests.late_device import LateDevice

ROWS, STEPS = 3, 24


class Compute:
    """A step with a part that needs the ids of the step before: in its masks, as matchers do, and in its state."""

    def __init__(self) -> None:
        self.state = 0

    def first(self, block: Tensor, drawn: Tensor) -> None:
        self.state = (31 * self.state + int(block.sum())) % 1_000_003
        drawn.copy_(block[: len(drawn)])

    def late(self, words: Tensor, drawn: Tensor) -> None:
        drawn.add_(words.view(-1)[: len(drawn)] + self.state)


def ids(module: ModuleType, temper: str) -> list[list[int]]:
    """Two steps are in flight, as in the engine; all but each fifth have a late part, one outgrows its memory."""
    way, compute = module.Link(LateDevice(eager=temper), ROWS), Compute()
    waits: list[masks.Once[list[int]]] = []
    drawn: list[list[int]] = []
    for step in range(STEPS):

        def words(step: int = step) -> Any:
            before = waits[step - 1]() if step else [0]
            return np.full((ROWS, 3000 if step == 9 else 1 + step % 4), sum(before) % 1000 + step, dtype=np.int32)

        late = module.Late(words, compute.late) if step % 5 else None
        block = np.arange(step, step + 8 + step % 5, dtype=np.int32)
        waits.append(masks.Once(way.launch(block, 1 + step % ROWS, compute.first, late).wait))
        if step:
            drawn.append(waits[step - 1]())
    return [*drawn, waits[-1]()]


TEMPERS = ("", "main", "copies", "main copies")
EXPECTED = ids(link, "main copies")


@pytest.mark.parametrize("temper", TEMPERS)
def test_the_ids_do_not_depend_on_how_late_the_device_is(temper: str) -> None:
    assert ids(link, temper) == EXPECTED


DELETIONS = {
    "the ids are copied before the late part has run": (
        "            ended = self._launch_late(late, slot, drawn)\n",
        "            self._launch_late(late, slot, drawn)\n",
    ),
    "the event that ends the late part comes before it": (
        "        main.run(lambda: late.draw(there.view(words.shape), drawn))\n        return main.record()\n",
        "        ended = main.record()\n        main.run(lambda: late.draw(there.view(words.shape), drawn))\n"
        "        return ended\n",
    ),
    "the words are not uploaded": ("        main.copy(there, slot.hold_words(words))\n", ""),
}


@pytest.mark.parametrize("deletion", DELETIONS)
def test_without_it_some_device_gives_wrong_ids(deletion: str) -> None:
    """Each deletion is made in the source of the link itself."""
    before, after = DELETIONS[deletion]
    source = Path(link.__file__).read_text()
    assert source.count(before) == 1
    module = ModuleType("link")
    vars(module)["__name__"] = link.__name__
    exec(compile(source.replace(before, after), link.__file__, "exec"), vars(module))
    assert any(ids(module, temper) != EXPECTED for temper in TEMPERS)
