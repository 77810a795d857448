"""Which ids the rows with a grammar may draw next: their matchers, and the masks that come of them.

    step N     ids known ─┐
    this lane             └▶ take in what N drew ─ apply the plan of N+1 ─ masks of N+1 ─┐
    step thread   launch N+1: forward enqueued .......................................... └▶ upload, draw those rows

All state here belongs to one thread of its own, which may sleep until a step's ids are there: nobody else waits but the
step thread, and that only for the draw of such rows. llguidance lets go of the interpreter while it works.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

import numpy as np

from services.engine.core.step import StepPlan
from services.engine.worker.columns import Ints
from services.engine.worker.completion import Lane
from services.engine.worker.flight import Flight
from services.engine.worker.grammars import GrammarError, Grammars, Matcher
from services.engine.worker.pack import Packed, carve

MOST_THREADS = 4
STACK_BYTES = 256 << 20  # of addresses: the library recurses along a grammar's rules, 4 KB for each
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Masks:
    words: Ints  # [masked, W]: a bit for each id that may be drawn
    faults: tuple[tuple[int, str], ...] = ()  # (index of a drawn id, why it does not count)


class Source(Protocol):
    """Where a rank gets its masks from. Both verbs are called from the step thread, in the order of the steps."""

    def begin(self, packed: Packed) -> Callable[[], Masks]:
        """Start on the masks of a step that has not run; the result blocks for them, once."""
        ...

    def follow(self, packed: Packed, flight: Flight) -> None:
        """What this step draws is what its matchers take next."""
        ...

    def close(self) -> None:
        """There are no more steps."""
        ...


class Once(Generic[T]):
    """A function's result, for any number of callers and threads."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._results: list[T] = []
        self._lock = threading.Lock()

    def __call__(self) -> T:
        with self._lock:
            if not self._results:
                self._results.append(self._function())
            return self._results[0]


class _Row:
    """What the output of a row must match, and how far it is; a fault stays."""

    def __init__(self, grammars: Grammars, grammar: str, output: tuple[int, ...]) -> None:
        self._forget = partial(grammars.forget, grammar)
        self._matcher: Matcher | None = None
        self.fault = ""
        try:
            self._matcher = grammars.matcher(grammar)
        except GrammarError as error:
            self._fail(error)
        self.accept(output)

    def accept(self, ids: tuple[int, ...]) -> None:
        if self._matcher is not None:
            try:
                self._matcher.accept(ids)
            except GrammarError as error:
                self._fail(error)

    def fill(self, words: Ints) -> None:
        """The mask of the next id; all ids where there is a fault, as what is drawn does not count."""
        if self._matcher is not None:
            try:
                return self._matcher.fill(words)
            except GrammarError as error:
                self._fail(error)
        words[:] = -1

    def _fail(self, error: GrammarError) -> None:
        self.fault, self._matcher = str(error), None
        self._forget()  # it may be what others have made of it since


class Matchers:
    """The source of an engine's first rank."""

    def __init__(self, grammars: Grammars, vocab_size: int) -> None:
        self._grammars = grammars
        self._width = -(-vocab_size // 32)
        self._rows: dict[int, _Row] = {}
        self._drawn: list[tuple[Packed, Flight]] = []  # steps whose ids were not taken in; the step thread's
        with deep_stacks():
            self._lane = Lane("sluice-masks")
            spare = max(1, min(MOST_THREADS, (os.cpu_count() or 1) - 1))
            self._helpers = [Lane(f"sluice-masks-{number}") for number in range(1, spare)]

    def begin(self, packed: Packed) -> Callable[[], Masks]:
        drawn, self._drawn = self._drawn, []
        done: Future[Masks] = Future()
        self._lane.put(partial(_settle, done, partial(self._work, packed, drawn)))
        return done.result

    def follow(self, packed: Packed, flight: Flight) -> None:
        self._drawn.append((packed, flight))

    def close(self) -> None:
        for lane in (self._lane, *self._helpers):
            lane.close(0.0)  # it may wait for a step that never ends

    # ---- in the lane

    def _work(self, packed: Packed, drawn: list[tuple[Packed, Flight]]) -> Masks:
        for before, flight in drawn:
            ids = flight.wait()
            for index, row in _masked(before):
                if row in self._rows:
                    self._rows[row].accept((ids[index],))
        if packed.constrained is not None:
            self._apply(packed.constrained)
        return self._masks(packed)

    def _apply(self, plan: StepPlan) -> None:
        if not plan.step:  # a scheduler that begins has no rows yet
            self._rows.clear()
        for row in plan.removed:
            self._rows.pop(row, None)
        for add in plan.added:
            if add.sampling.grammar and add.row not in self._rows:  # else it is sent again and goes on (stateless)
                output = add.tokens[add.prompt_len :]
                self._rows[add.row] = _Row(self._grammars, add.sampling.grammar, output)

    def _masks(self, packed: Packed) -> Masks:
        masked = _masked(packed)
        words = np.empty((len(masked), self._width), dtype=np.int32)
        rows = [self._rows[row] for _, row in masked]
        shares = min(len(rows), 1 + len(self._helpers))
        waits = [
            _put(lane, partial(_fill, rows[share::shares], words[share::shares]))
            for share, lane in enumerate(self._helpers[: shares - 1], 1)
        ]
        _fill(rows[::shares] if rows else [], words[:: shares or 1])
        for wait in waits:
            wait.result()
        faults = [(index, row.fault) for (index, _), row in zip(masked, rows, strict=True) if row.fault]
        return Masks(words, tuple(faults))


def _masked(packed: Packed) -> list[tuple[int, int]]:
    """(index of the drawn id, row) of each row that waits for a mask."""
    parts = carve(packed.buffer, packed.header)
    return list(zip(parts.masked.tolist(), parts.rows[parts.sampled[parts.masked]].tolist(), strict=True))


def _fill(rows: list[_Row], words: Ints) -> None:
    for row, mask in zip(rows, words, strict=True):
        row.fill(mask)


def _put(lane: Lane, job: Callable[[], T]) -> "Future[T]":
    done: Future[T] = Future()
    lane.put(partial(_settle, done, job))
    return done


def _settle(done: "Future[T]", job: Callable[[], T]) -> None:
    try:
        done.set_result(job())
    except BaseException as error:
        done.set_exception(error)


@contextmanager
def deep_stacks() -> Iterator[None]:
    """For threads that are started inside."""
    before = threading.stack_size(STACK_BYTES)
    try:
        yield
    finally:
        threading.stack_size(before)
