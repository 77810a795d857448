"""An engine whose steps are computed in processes of their own, rank 0 among them: what a CPU is best served by.

    engine           plan N+1, commit N-1, the bus        no torch here, and nobody to share the interpreter with
      step thread    block of N+1 ──┐        ┌── ids of N
    rank 0           step N ........└ step N+1 ...

A step on a CPU is hundreds of short operators, and each gives the interpreter away and has to get it back: in one
process with a busy loop it waits as long for that as for a core. `--worker thread` is the old way.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from services.engine.config import EngineConfig
from services.engine.worker.answers import Listener
from services.engine.worker.assembly import assemble
from services.engine.worker.flight import Flight, HostEvent
from services.engine.worker.grammars import Grammars
from services.engine.worker.masks import Matchers, Once, Source
from services.engine.worker.models.config import model_config
from services.engine.worker.pack import Packed
from services.engine.worker.ranks import BroadcastMasks, RankProcesses
from services.engine.worker.worker import Worker
from shared.checkpoint import Progress, read_config

DRIVER = "libcuda.so.1"  # without it torch finds no card


def is_apart(config: EngineConfig) -> bool:
    """Do the steps get a process of their own?"""
    return config.worker == "process" or (config.worker == "auto" and _on_host(config.device))


def _on_host(device: str) -> bool:
    """Will it be a CPU? Asked before torch is there; where there may be a card, torch has the last word elsewhere."""
    if device != "auto":
        return device == "cpu"
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return True
    return False


def open_apart(config: EngineConfig, folder: Path, progress: Progress) -> Worker:
    """The counterpart of `opening.open_worker`. Blocks until the ranks have loaded the checkpoint in `folder`.

    Raises ConfigError in one line for what is not supported, broken, or does not fit; RankLost if a rank ends.
    """
    config = replace(config, device="cpu")
    model = model_config(read_config(folder))
    model.of_rank(config.tensor_parallel)
    grammars = Grammars(folder, model.vocab_size)
    with _processes(config, folder) as ranks:
        masks = BroadcastMasks(Matchers(grammars, model.vocab_size), ranks)
        listener = Listener(ranks.hear)
        sizes, blocks = listener.opened(progress)
        launcher = RemoteRunner(ranks, masks, listener)
        worker = assemble(config, model, sizes, blocks, launcher, grammars, progress)
    ranks.watch(worker.fail)
    return worker


@contextmanager
def _processes(config: EngineConfig, folder: Path) -> Iterator[RankProcesses]:
    """They outlive the block, in which they meet, unless it raises."""
    alone = config.tensor_parallel == 1
    with nullcontext("") if alone else TemporaryDirectory(prefix="sluice-ranks-") as private:
        meeting = None if alone else Path(private) / "meeting"
        ranks = RankProcesses(config, folder, meeting, first=0)
        try:
            yield ranks
        except BaseException:
            ranks.close()
            raise


class RemoteRunner:
    """Launches each step on the ranks, none of which is here. See `worker.Launcher`."""

    late = True
    graph_steps = 0  # a CPU captures nothing

    def __init__(self, ranks: RankProcesses, masks: Source, listener: Listener) -> None:
        self._ranks = ranks
        self._masks = masks
        self._listener = listener
        self._launched = 0

    def launch(self, packed: Packed) -> Flight:
        """Blocks for the masks of the step's rows, as `runner.Runner` does."""
        constrained = packed.masked or packed.constrained is not None
        masks = Once(self._masks.begin(packed)) if constrained else None
        self._ranks.send(packed.buffer.data.cast("B"))
        flight = self._flight(self._launched)
        self._launched += 1
        if masks is not None and packed.masked:
            flight = replace(flight, wait=Once(flight.wait), faults=masks().faults)  # which sends them
            self._masks.follow(packed, flight)
        return flight

    def _flight(self, number: int) -> Flight:
        begun, ended = HostEvent(0), HostEvent(0)

        def wait() -> list[int]:
            begun.at_ns, ended.at_ns, results = self._listener.step(number)
            return results

        return Flight(wait, begun, ended)

    def close(self) -> None:
        self._masks.close()
        self._ranks.close()
