"""A cancellation that comes while a group of tasks fails must not be lost.

Up to Python 3.12 a TaskGroup that fails while its task is being cancelled raises the failure only, and `cancelling()`
does not tell the two apart either (python/cpython#116720). Who means to go on after a failure would then never end.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def apart(work: Coroutine[Any, Any, T]) -> T:
    """Do `work` in a task of its own. Cancelling the caller ends both, and always raises CancelledError here, even when
    the work fails at that very moment."""
    task = asyncio.create_task(work)  # noqa: TID251  # its parent is here, and no group
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # it was asked for, so nobody complains that it was not
        raise
    return task.result()
