"""Where threads meet asyncio: a job's end becomes an awaitable. The only file of the worker that knows a loop."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
Job = Callable[[], None]


class Completion(Generic[T]):
    """A future of the running loop that any thread may settle. Cancelling the future stops nobody's work."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()

    def succeed(self, value: T) -> None:
        self._from_thread(lambda: self.future.set_result(value))

    def fail(self, error: Exception) -> None:
        """Whoever awaits the future is told; if nobody does, nobody need be."""

        def settle() -> None:
            self.future.set_exception(error)
            self.future.exception()  # seen: asyncio need not say that it was not

        self._from_thread(settle)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Whatever is raised inside becomes the future's exception and goes no further."""
        try:
            yield
        except Exception as error:
            self.fail(error)

    def _from_thread(self, settle: Job) -> None:
        try:
            self._loop.call_soon_threadsafe(lambda: None if self.future.done() else settle())
        except RuntimeError:
            if not self._loop.is_closed():
                raise  # after a closed loop nobody waits any more


class Lane:
    """One thread that runs jobs in the order in which they were put."""

    def __init__(self, name: str, setup: Job = lambda: None) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(setup,), name=name, daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Jobs settle a `Completion`: one that raises ends the lane."""
        self._jobs.put(job)

    def call(self, function: Callable[[], T]) -> T:
        """Run it in the lane and block for its result; for start-up, never on a loop."""
        future: Future[T] = Future()

        def job() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self._jobs.put(job)
        return future.result()

    def close(self, wait_s: float | None = None) -> None:
        """Run what was put before, then end. Waits for that, at most `wait_s`; it may also end with the process."""
        self._jobs.put(None)
        self._thread.join(wait_s)

    def _run(self, setup: Job) -> None:
        setup()
        while (job := self._jobs.get()) is not None:
            job()
