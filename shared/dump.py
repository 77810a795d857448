"""SIGUSR1 asks a process what it is at: the state of its owners, and where each of its tasks waits, in one log line.

    kill -USR1 PID

Names, numbers and places in the code, and nothing of any request.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEEPEST = 24  # calls within a task
MOST_TASKS = 1000
log = logging.getLogger("sluice.dump")


@contextmanager
def on_signal(statistics: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """While inside, each SIGUSR1 is answered; a loop that knows no signals answers none."""
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGUSR1, lambda: dump(statistics))
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGUSR1)


def dump(statistics: Callable[[], Mapping[str, Any]]) -> None:
    """Whatever the level of the log is: somebody has asked for this line."""
    more = {"state": statistics(), "tasks": tasks()}
    log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, "state", (), None, extra=more))


def tasks() -> list[dict[str, Any]]:
    """Each task of the loop by name, and the calls it waits in, the innermost last."""
    found = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())[:MOST_TASKS]
    return [{"name": task.get_name(), "waits": waits(task)} for task in found]


def waits(task: "asyncio.Task[Any]") -> list[str]:
    """ "services/engine/outbox.py:37 publish", and so on inwards."""
    places: list[str] = []
    work: Any = task.get_coro()
    while work is not None and len(places) < DEEPEST:
        frame = _of(work, "frame")
        if frame is None:
            break
        places.append(f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}")
        work = _of(work, "await")
    return places


def _of(work: Any, what: str) -> Any:
    """Of a coroutine, an asynchronous generator or a plain one."""
    kinds = {"frame": ("cr_frame", "ag_frame", "gi_frame"), "await": ("cr_await", "ag_await", "gi_yieldfrom")}
    return next((getattr(work, name) for name in kinds[what] if hasattr(work, name)), None)


def _short(path: str) -> str:
    """Within the tree, or within a library: where they lie is nobody's business."""
    parts = Path(path).parts
    if Path(path).is_relative_to(ROOT):
        parts = Path(path).relative_to(ROOT).parts
    marks = [index for index, part in enumerate(parts) if part == "site-packages" or part.startswith("python3")]
    return "/".join(parts[marks[-1] + 1 :] if marks else parts[-4:])
