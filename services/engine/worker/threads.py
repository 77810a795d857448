"""How many threads of a CPU compute a step."""

import os

import torch

LARGE = 300_000_000  # operations; a few milliseconds of one core
READING = 4  # tokens that take no longer than one: reading the weights does


class Threads:
    """A small step leaves one core to the loop, which plans the next one meanwhile, and to the other services; and its
    operators are so short that waking a thread for each costs more than the thread brings. A large one takes all.
    """

    def __init__(self, asked: int, parameters: int, ranks: int = 1) -> None:
        """`asked`: so many for every step, or 0. `parameters`: of the model, each two operations for a token. `ranks`
        share the cores."""
        cores = max(1, len(os.sched_getaffinity(0)) // ranks)
        self.few = asked or max(1, cores - 1)
        self._all = asked or cores
        self._operations = 2 * parameters
        self._set = 0

    def set_for(self, tokens: int) -> None:
        """For what this thread computes from here on, until it is called again: a step of so many tokens."""
        threads = self._all if max(tokens, READING) * self._operations >= LARGE else self.few
        if threads != self._set:
            torch.set_num_threads(threads)
            self._set = threads
