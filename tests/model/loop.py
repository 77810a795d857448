"""An event loop with a clock of its own that plays several processes at once, one seed one schedule.

A process is a context: what its code calls soon or later lands in its own queue, first come first served as in a real
loop, and dice decide which process runs next. A frozen process runs nothing while time goes on (SIGSTOP); a dead one
never again (kill -9). Time moves only when nobody can run, so a minute of waiting costs nothing.
"""

import asyncio
import contextvars
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
PROCESS: contextvars.ContextVar["Process"] = contextvars.ContextVar("process")


class Process:
    """One process of the model: a queue of what it runs next. `name` is for people."""

    def __init__(self, name: str, world: Any = None) -> None:
        self.name = name
        self.world = world
        self.ready: deque[asyncio.Handle] = deque()
        self.frozen_until = 0.0
        self.alive = True
        self.weight = 1.0
        self.parts: dict[str, Any] = {}  # objects inside that the world looks at
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)


class Task(asyncio.Task[T]):
    """A task whose place in a set does not depend on where it lies in memory."""

    def __init__(
        self, work: Coroutine[Any, Any, T], loop: "VirtualLoop", context: contextvars.Context | None, serial: int
    ) -> None:
        self._serial = serial  # before it is put into any set
        super().__init__(work, loop=loop, context=context)

    def __hash__(self) -> int:
        return self._serial

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop(asyncio.BaseEventLoop):
    def __init__(self, dice: random.Random, start_s: float = 0.0) -> None:
        super().__init__()
        self._dice = dice
        self._now = start_s
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self.outside = Process("outside")
        self._processes = [self.outside]
        self.steps = 0
        self._tasks = 0
        self.set_task_factory(self._make)

    def _make(self, _: asyncio.AbstractEventLoop, work: Any, context: contextvars.Context | None = None) -> Task[Any]:
        self._tasks += 1
        return Task(work, self, context, self._tasks)

    def add(self, process: Process) -> None:
        self._processes.append(process)

    def bury(self) -> None:
        """Everything may run again, to be cancelled: the schedule is over."""
        for process in self._processes:
            process.frozen_until, process.alive = 0.0, True

    def start(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of that process."""
        return self._make(self, work, process.context)

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]  # typed less closely than the standard library
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        context = contextvars.copy_context() if context is None else context  # an empty one is false
        handle = asyncio.Handle(callback, args, self, context)
        context.get(PROCESS, self.outside).ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]  # typed less closely than the standard library
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]  # typed less closely than the standard library
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def call_later(  # type: ignore[override]  # typed less closely than the standard library
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """At once: threads would bring their own order."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is met in its turn

    def _run_once(self) -> None:
        while not (able := [p for p in self._processes if p.ready and p.alive and p.frozen_until <= self._now]):
            self._advance()
        process = able[0] if len(able) == 1 else self._dice.choices(able, [p.weight for p in able])[0]
        handle = process.ready.popleft()
        self.steps += 1
        if not handle.cancelled():
            handle._run()

    def _advance(self) -> None:
        """To the next moment at which something is due."""
        waking = [p.frozen_until for p in self._processes if p.ready and p.alive]
        due = min([*waking, *(when for when, _, _ in self._timers[:1])], default=None)
        if due is None:
            raise AssertionError("nothing runs and nothing is due: a deadlock of all processes")
        self._now = max(self._now, due)
        while self._timers and self._timers[0][0] <= self._now:
            _, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                context: contextvars.Context = timer._context  # type: ignore[attr-defined]  # no public name
                context.get(PROCESS, self.outside).ready.append(timer)
