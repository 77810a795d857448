"""How a service starts and ends: uvloop, signals, one line for an error the operator can mend.

Exit status 0 after SIGTERM or SIGINT, 2 for a configuration that cannot work, 1 for anything else.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import uvloop

from shared import logs
from shared.errors import ConfigError
from shared.settings import CommonConfig, load

C = TypeVar("C", bound=CommonConfig)
Service = Callable[[C, asyncio.Event], Awaitable[None]]
FEW_FILES, MOST_FILES = 4096, 1 << 20  # a client is one; a kernel may refuse more than the second
log = logging.getLogger("sluice")


def run(config_type: type[C], prog: str, about: str, service: Service[C]) -> None:
    """Run `service(config, stop)` until it returns; SIGTERM and SIGINT set `stop`."""
    try:
        config = load(config_type, prog, about, sys.argv[1:], os.environ)
        logs.configure(config.log_level, config.log_format, prog.rpartition(".")[2])
        if (files := raise_open_files()) < FEW_FILES:
            log.warning("this process may open %d files, and each connection is one: raise its hard limit", files)
        uvloop.run(_serve(config, service))
    except ConfigError as error:
        sys.exit(_complain(prog, str(error), 2))
    except BaseExceptionGroup as group:
        causes = group.subgroup(ConfigError)
        if causes is None:
            raise
        sys.exit(_complain(prog, str(_first(causes)), 2))


def settle_down() -> None:
    """A service has started: what that made stays, and no collection walks through it again."""
    gc.collect()
    gc.freeze()


def raise_open_files() -> int:
    """Allow this process as many open files as its hard limit does; returns how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_FILES if soft == resource.RLIM_INFINITY else soft


async def _serve(config: C, service: Service[C]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await service(config, stop)


def _complain(prog: str, message: str, status: int) -> int:
    print(f"{prog}: {message}", file=sys.stderr, flush=True)
    return status


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
